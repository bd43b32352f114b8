use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Rotation, lines::rotated};

/// How long to wait before what could not be written is tried again.
pub(crate) const RETRY: Duration = Duration::from_millis(500);

/// A file of lines that is only ever appended to.
pub(crate) struct LineFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
    begun: SystemTime,
    /// The last line is not whole: it is ended before the next one.
    torn: bool,
    /// A file that is full could not be put away, and that was told.
    stays: bool,
}

impl LineFile {
    /// Opens it, or makes it; its directory has to be there. What a killed process left unfinished stays, for
    /// a reader to report.
    pub(crate) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .open(path)?;
        let about = file.metadata()?;
        let mut torn = false;
        if about.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            torn = last != *b"\n";
        }
        Ok(Self {
            path: path.to_owned(),
            rotation,
            file,
            bytes: about.len(),
            begun: about.created().or_else(|_| about.modified())?,
            torn,
            stays: false,
        })
    }

    /// Writes lines, and says how many of them are whole in the file. Those that are not can be written again;
    /// a part of one that is there already is no line for any reader.
    pub(crate) fn write<L: AsRef<[u8]>>(&mut self, lines: &[L]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < lines.len() {
            if let Err(error) = self.make_room(lines[done].as_ref().len()) {
                return (done, Err(error));
            }
            let fitting = self.fitting(&lines[done..]);
            let (written, result) = self.write_now(&lines[done..done + fitting]);
            done += written;
            if result.is_err() {
                return (done, result);
            }
        }
        (done, Ok(()))
    }

    /// Has the operating system put what was written on its storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// How many of these go into the file that is open; at least one.
    fn fitting<L: AsRef<[u8]>>(&self, lines: &[L]) -> usize {
        let mut bytes = self.bytes;
        let fits = lines.iter().take_while(|line| {
            bytes += line.as_ref().len() as u64;
            bytes <= self.rotation.max_file_bytes
        });
        fits.count().max(1)
    }

    fn write_now<L: AsRef<[u8]>>(&mut self, lines: &[L]) -> (usize, io::Result<()>) {
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        let ended = text.len();
        for line in lines {
            text.extend_from_slice(line.as_ref());
        }
        let mut written = 0;
        let result = loop {
            match self.file.write(&text[written..]) {
                Ok(0) if written < text.len() => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if written == text.len() {
                break Ok(());
            }
        };
        self.bytes += written as u64;
        if written < ended {
            return (0, result);
        }
        let mut left = written - ended;
        let whole = lines.iter().take_while(|line| {
            let bytes = line.as_ref().len();
            let whole = bytes <= left;
            if whole {
                left -= bytes;
            }
            whole
        });
        let whole = whole.count();
        self.torn = left > 0;
        (whole, result)
    }

    /// Begins the next file if this one is full, or is no longer where its name is.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        if !leads_to(&self.path, &self.file) {
            *self = Self::open(&self.path, self.rotation)?;
        }
        let full = self.bytes + bytes as u64 > self.rotation.max_file_bytes;
        let old = self.rotation.max_file_age.is_some_and(|age| {
            let since = SystemTime::now().duration_since(self.begun);
            since.is_ok_and(|since| since >= age)
        });
        if self.bytes == 0 || !(full || old) {
            return Ok(());
        }
        match self.rotate() {
            Ok(()) => self.stays = false,
            // Better one file that is too large than records that are lost.
            Err(error) => {
                if !std::mem::replace(&mut self.stays, true) {
                    tracing::warn!(target: "rust_supervisor", path = %self.path.display(), %error, "cannot begin the next file");
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let files = rotated(&self.path)?;
        let number = files.last().map_or(1, |(number, _)| number + 1);
        fs::rename(&self.path, numbered(&self.path, number))?;
        let next = Self::open(&self.path, self.rotation);
        if next.is_err() {
            // Readers and writers find it where it was.
            fs::rename(numbered(&self.path, number), &self.path)?;
        }
        *self = next?;
        self.begun = SystemTime::now();
        self.forget_oldest()
    }

    fn forget_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for (_, path) in rotated(&self.path)? {
            files.push((fs::metadata(&path)?.len(), path));
        }
        let mut total = self.bytes + files.iter().map(|(bytes, _)| bytes).sum::<u64>();
        // Room for the one that is being written, too.
        let bound = self
            .rotation
            .max_total_bytes
            .saturating_sub(self.rotation.max_file_bytes);
        for (bytes, path) in files {
            if total <= bound {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

/// Whether a name leads to an open file.
#[cfg(unix)]
pub(super) fn leads_to(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;

    let id = |about: fs::Metadata| (about.dev(), about.ino());
    let there = fs::metadata(path).map(id);
    matches!((there, file.metadata().map(id)), (Ok(there), Ok(open)) if there == open)
}

/// As near to it as can be told here.
#[cfg(not(unix))]
pub(super) fn leads_to(path: &Path, _: &File) -> bool {
    path.exists()
}

/// What a file is called when it is full.
pub(super) fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
