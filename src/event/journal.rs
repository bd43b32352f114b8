use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    SupervisorEvent, TreeEvent,
    ring::{Growth, Read, Ring, Selection},
};
use crate::{
    record::{LineFile, Lines, RETRY, Rotation, Skipped, encode},
    spec::SupervisorPath,
    tree::Tree,
};

/// A file that a tree keeps its events in, so that they are there when the process is not.
///
/// One JSON line per event, checksummed, appended to what other lives of the process left. Whoever acts never
/// waits for it: the file is written from the ring that the tree remembers its events in anyway. Where that is
/// overrun, because storage is slow or full, the file tells of a gap.
///
/// What has been written survives the process, however that ends. It is not synced to storage event by event,
/// only when a file is full and when the tree ends: the machine's own end may take the last of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFile {
    pub(crate) path: PathBuf,
    pub(crate) rotation: Rotation,
}

impl JournalFile {
    /// Kept at this path; its directory has to be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            rotation: Rotation::default(),
        }
    }

    /// When the next file begins, and how much is kept.
    #[must_use]
    pub fn rotation(mut self, rotation: Rotation) -> Self {
        self.rotation = rotation;
        self
    }
}

/// What a line holds.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Event(Box<SupervisorEvent>),
    Gap { gap: Gap },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    missed: u64,
}

/// Copies the ring to the file.
pub(crate) struct Copying {
    path: PathBuf,
    ring: Arc<Ring>,
    /// Away while a thread writes to it.
    file: Option<LineFile>,
    next: u64,
    /// Of the last that was written.
    uptime: Duration,
    /// It could not be written last time.
    failing: bool,
}

impl Copying {
    pub(crate) fn open(file: &JournalFile, ring: Arc<Ring>) -> io::Result<Self> {
        Ok(Self {
            path: file.path.clone(),
            file: Some(LineFile::open(&file.path, file.rotation)?),
            ring,
            next: 1,
            uptime: Duration::ZERO,
            failing: false,
        })
    }

    /// Until the tree has ended and all of it is in the file.
    pub(crate) async fn run(mut self, tree: &Tree) {
        let everything = Selection::default();
        loop {
            // Before reading, so that nothing appended in between is missed.
            let grown = Growth::of(&self.ring);
            let (entries, next) = match self.ring.read(self.next, self.uptime, &everything) {
                Read::Events { batch, next } => {
                    self.uptime = batch.back().map_or(self.uptime, |last| last.uptime);
                    let events = batch.into_iter();
                    (
                        events.map(|event| Entry::Event(event.into())).collect(),
                        next,
                    )
                }
                Read::Gap { missed, next } => {
                    let gap = Gap { missed };
                    (vec![Entry::Gap { gap }], next)
                }
                Read::Closed => {
                    if let Some(Err(error)) = self.file.take().map(|file| file.sync()) {
                        tracing::error!(target: "rust_supervisor", path = %self.path.display(), %error, "journal file not synced");
                    }
                    return;
                }
                Read::Empty => {
                    grown.await;
                    continue;
                }
            };
            if !self.write(entries, tree).await {
                return;
            }
            self.next = next;
        }
    }

    /// Writes, again and again until it is done; `false`: never.
    async fn write(&mut self, entries: Vec<Entry>, tree: &Tree) -> bool {
        let mut lines = Vec::new();
        let mut entries = Some(entries);
        while let Some(mut file) = self.file.take() {
            let fresh = entries.take();
            let written = tokio::task::spawn_blocking(move || {
                for entry in fresh.iter().flatten() {
                    // Plain data, which JSON can say.
                    lines.extend(encode(entry));
                }
                let (done, result) = file.write(&lines);
                lines.drain(..done);
                (file, lines, result)
            });
            // A runtime that is torn down writes nothing any more.
            let Ok((file, left, result)) = written.await else {
                return false;
            };
            self.file = Some(file);
            lines = left;
            match result {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        let path = self.shown_path();
                        tree.record(
                            &SupervisorPath::root(),
                            TreeEvent::JournalRecovered { path },
                            0,
                        );
                    }
                    return true;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        let event = TreeEvent::JournalFailed {
                            path: self.shown_path(),
                            error: error.to_string().into(),
                        };
                        tree.record(&SupervisorPath::root(), event, 0);
                    }
                    sleep(RETRY).await;
                }
            }
        }
        false
    }

    fn shown_path(&self) -> Arc<str> {
        self.path.to_string_lossy().into()
    }
}

/// Reads a [`JournalFile`], and the files rotated before it: of a process that is gone, or of one that writes
/// it now.
///
/// ```no_run
/// use rust_supervisor::{Journal, JournalItem};
///
/// # fn main() -> std::io::Result<()> {
/// for item in Journal::open("/var/lib/shop/journal.jsonl")? {
///     match item? {
///         JournalItem::Event(event) => println!("{event}"),
///         JournalItem::Gap { missed } => println!("({missed} events were never written)"),
///         JournalItem::Skipped(skipped) => println!("({skipped})"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// As an iterator it ends where the file does; asked again later, it reads on.
pub struct Journal {
    lines: Lines<Entry>,
}

/// What is found in a journal file.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalItem {
    /// An event.
    Event(SupervisorEvent),
    /// So many events were never written.
    Gap {
        /// How many.
        missed: u64,
    },
    /// What is no whole event: torn by the process's end, or damaged since.
    Skipped(Skipped),
}

impl Journal {
    /// From the oldest event there is.
    ///
    /// # Errors
    ///
    /// There is no such file, or it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            lines: Lines::open(path.as_ref())?,
        })
    }

    /// What stands at the very end and is no whole line: it is being written now, or never will be.
    pub fn unfinished(&self) -> Option<Skipped> {
        self.lines.unfinished()
    }
}

impl Iterator for Journal {
    type Item = io::Result<JournalItem>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.lines.next().transpose()?;
        Some(item.map(|item| match item {
            Ok(Entry::Event(event)) => JournalItem::Event(*event),
            Ok(Entry::Gap { gap }) => JournalItem::Gap { missed: gap.missed },
            Err(skipped) => JournalItem::Skipped(skipped),
        }))
    }
}
