use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{
    file::{leads_to, numbered},
    line::decode,
};

/// A part of a file that is no whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            offset,
            bytes,
            why,
        } = self;
        write!(
            f,
            "{}: {bytes} bytes at {offset} skipped: {why}",
            file.display()
        )
    }
}

/// Reads the records of a file and of those rotated before it, the oldest first, also while they are written.
pub(crate) struct Lines<T> {
    path: PathBuf,
    open: Option<Open>,
    /// The last rotated file that was read.
    last: u64,
    records: PhantomData<fn() -> T>,
}

struct Open {
    /// `None`: the one that is written.
    number: Option<u64>,
    file: BufReader<File>,
    /// Where the line begins that is being read.
    offset: u64,
    line: Vec<u8>,
    /// What of the line was too long to be kept.
    dropped: u64,
}

/// A longer line is none of ours: a record is much shorter, and a file may be anything.
const LONGEST: usize = 1 << 20;

impl<T: DeserializeOwned> Lines<T> {
    /// From the oldest record there is.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut lines = Self {
            path: path.to_owned(),
            open: None,
            last: 0,
            records: PhantomData,
        };
        let first = rotated(path)?.first().map(|(number, _)| *number);
        lines.open = Some(lines.open_file(first)?);
        Ok(lines)
    }

    fn open_file(&self, number: Option<u64>) -> io::Result<Open> {
        let path = self.name(number);
        Ok(Open {
            number,
            file: BufReader::new(File::open(path)?),
            offset: 0,
            line: Vec::new(),
            dropped: 0,
        })
    }

    fn name(&self, number: Option<u64>) -> PathBuf {
        number.map_or_else(|| self.path.clone(), |number| numbered(&self.path, number))
    }

    /// The next record or what is none; `None` when there is no more yet: asked again, it reads on.
    pub(crate) fn next(&mut self) -> io::Result<Option<Result<T, Skipped>>> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_file(self.following()?) {
                    Ok(open) => self.open = Some(open),
                    // Between two files there may be none of the name for a moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                }
                continue;
            };
            if open.read_line()? {
                let number = open.number;
                let line = open.take();
                return Ok(Some(
                    line.decode()
                        .map_err(|why| line.skipped(self.name(number), why)),
                ));
            }
            match open.number {
                Some(number) => {
                    self.last = number;
                    let file = self.name(Some(number));
                    let rest = self.open.take().and_then(Open::rest);
                    if let Some(rest) = rest {
                        return Ok(Some(Err(rest.skipped(file, "it is torn off"))));
                    }
                }
                None => {
                    if leads_to(&self.path, open.file.get_ref()) {
                        return Ok(None);
                    }
                    let newer = rotated(&self.path)?.into_iter();
                    let found = newer
                        .filter(|(number, _)| *number > self.last)
                        .find(|(_, path)| leads_to(path, open.file.get_ref()));
                    match found {
                        // It has been rotated meanwhile, perhaps after more was written to it.
                        Some((number, _)) => open.number = Some(number),
                        None => {
                            let rest = self.open.take().and_then(Open::rest);
                            if let Some(rest) = rest {
                                let file = self.path.clone();
                                return Ok(Some(Err(rest.skipped(file, "it is torn off"))));
                            }
                        }
                    }
                }
            }
        }
    }

    /// The first rotated file after the last that was read.
    fn following(&self) -> io::Result<Option<u64>> {
        let files = rotated(&self.path)?;
        let mut numbers = files.into_iter().map(|(number, _)| number);
        Ok(numbers.find(|&number| number > self.last))
    }

    /// What stands at the very end without the end of its line: of a process that writes it now, or was
    /// killed.
    pub(crate) fn unfinished(&self) -> Option<Skipped> {
        let open = self.open.as_ref()?;
        let bytes = open.line.len() as u64 + open.dropped;
        (bytes > 0).then(|| Skipped {
            file: self.name(open.number),
            offset: open.offset,
            bytes,
            why: "it is not finished",
        })
    }
}

/// A line as it was found.
struct Found {
    offset: u64,
    line: Vec<u8>,
    dropped: u64,
}

impl Open {
    /// Reads on to the end of a line; `false`: it is not there yet.
    fn read_line(&mut self) -> io::Result<bool> {
        loop {
            let read = self.file.fill_buf()?;
            if read.is_empty() {
                return Ok(false);
            }
            let newline = read.iter().position(|&byte| byte == b'\n');
            let part = &read[..newline.unwrap_or(read.len())];
            let room = LONGEST.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            self.dropped += (part.len() - room) as u64;
            let used = newline.map_or(read.len(), |at| at + 1);
            self.file.consume(used);
            if newline.is_some() {
                return Ok(true);
            }
        }
    }

    fn take(&mut self) -> Found {
        let found = Found {
            offset: self.offset,
            line: std::mem::take(&mut self.line),
            dropped: std::mem::take(&mut self.dropped),
        };
        self.offset += found.line.len() as u64 + found.dropped + 1;
        found
    }

    fn rest(mut self) -> Option<Found> {
        let found = self.take();
        (!found.line.is_empty()).then_some(found)
    }
}

impl Found {
    fn decode<T: DeserializeOwned>(&self) -> Result<T, &'static str> {
        match self.dropped {
            0 => decode(&self.line),
            _ => Err("it is longer than any record"),
        }
    }

    fn skipped(&self, file: PathBuf, why: &'static str) -> Skipped {
        Skipped {
            file,
            offset: self.offset,
            bytes: self.line.len() as u64 + self.dropped,
            why,
        }
    }
}

/// The files rotated before this one, by their numbers.
pub(super) fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its name is no text",
        ));
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|found| {
            let digits = found.strip_prefix(name)?.strip_prefix('.')?;
            digits.parse::<u64>().ok()
        });
        files.extend(number.map(|number| (number, entry.path())));
    }
    files.sort_unstable();
    Ok(files)
}
