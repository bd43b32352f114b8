use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;
use tracing::Level;

use super::{LogRecord, LogStream, LogTailLayer};
use crate::spec::SupervisorPath;
use crate::sync::lock;

/// Keeps the last records of each child; see the [module](super). Clones are one tail.
///
/// Its memory is bounded: so many children, so many records of each, so many bytes in each of those. What is
/// too much makes room: a long record is cut, the oldest record of a child goes, and the child that has been
/// silent for longest, with all it had.
#[derive(Clone)]
pub struct LogTail {
    pub(super) shared: Arc<Shared>,
}

/// What a tail and its layers share.
pub(super) struct Shared {
    records: usize,
    pub(super) bytes: usize,
    children: usize,
    sequence: AtomicU64,
    tails: Mutex<HashMap<Arc<str>, Arc<Tail>>>,
    pub(super) grown: Arc<Notify>,
}

/// One child's records.
pub(super) struct Tail {
    pub(super) path: Arc<str>,
    /// The last record's sequence: who was silent for longest has the smallest.
    last: AtomicU64,
    /// It has made room for another child.
    gone: AtomicBool,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    /// How many there have been.
    total: u64,
    last: VecDeque<LogRecord>,
}

/// Those of one child from some point on.
pub(super) struct Part {
    pub(super) missed: u64,
    pub(super) total: u64,
    pub(super) records: Vec<LogRecord>,
}

impl LogTail {
    /// For a thousand children, the last 200 records of each, of 4 KiB each at most.
    pub fn new() -> Self {
        Self::bounded(1000, 200, 4096)
    }

    /// For so many children, the last so many records of each, of so many bytes of text each at most.
    pub fn bounded(children: usize, records: usize, bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                records: records.max(1),
                bytes,
                children: children.max(1),
                sequence: AtomicU64::new(0),
                tails: Mutex::default(),
                grown: Arc::default(),
            }),
        }
    }

    /// What fills the tail: a layer for a `tracing_subscriber` registry. Filters of its own (`with_filter`)
    /// decide what it keeps.
    pub fn layer(&self) -> LogTailLayer {
        LogTailLayer::new(self.shared.clone())
    }

    /// The last records of a child, or of all children below a supervisor, the oldest first.
    pub fn last(&self, path: impl Into<SupervisorPath>, records: usize) -> Vec<LogRecord> {
        self.last_at_least(path, Level::TRACE, records)
    }

    /// The same of those that are at least so severe.
    pub fn last_at_least(
        &self,
        path: impl Into<SupervisorPath>,
        level: Level,
        records: usize,
    ) -> Vec<LogRecord> {
        let tails = self.shared.below(&path.into());
        let found = tails.iter().flat_map(|tail| tail.from(0).records);
        let mut found: Vec<_> = found.filter(|record| is_at_least(record, level)).collect();
        found.sort_unstable_by_key(|record| record.sequence);
        found.split_off(found.len().saturating_sub(records))
    }

    /// The records of a child, or of all children below a supervisor, from now on.
    pub fn follow(&self, path: impl Into<SupervisorPath>) -> LogStream {
        LogStream::new(self.shared.clone(), path.into())
    }
}

impl Default for LogTail {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn is_at_least(record: &LogRecord, level: Level) -> bool {
    record
        .level
        .parse::<Level>()
        .is_ok_and(|found| found <= level)
}

impl Shared {
    /// A child's records; as another, if that made room meanwhile.
    pub(super) fn tail(&self, path: &str) -> Arc<Tail> {
        let mut tails = lock(&self.tails);
        if let Some(tail) = tails.get(path) {
            return tail.clone();
        }
        if tails.len() >= self.children {
            let silent = tails.values().min_by_key(|tail| tail.last());
            if let Some(silent) = silent.map(|tail| tail.path.clone())
                && let Some(gone) = tails.remove(&silent)
            {
                gone.gone.store(true, Ordering::Relaxed);
            }
        }
        let path: Arc<str> = path.into();
        let tail = Arc::new(Tail {
            path: path.clone(),
            last: AtomicU64::new(self.sequence.load(Ordering::Relaxed)),
            gone: AtomicBool::new(false),
            records: Mutex::default(),
        });
        tails.insert(path, tail.clone());
        tail
    }

    pub(super) fn add(&self, tail: &Tail, mut record: LogRecord) {
        {
            let mut records = lock(&tail.records);
            // With the lock held, so that a child's records are in order.
            record.sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
            tail.last.store(record.sequence, Ordering::Relaxed);
            records.total += 1;
            if records.last.len() == self.records {
                records.last.pop_front();
            }
            records.last.push_back(record);
        }
        self.grown.notify_waiters();
    }

    /// Those of a path and below it.
    pub(super) fn below(&self, path: &SupervisorPath) -> Vec<Arc<Tail>> {
        let tails = lock(&self.tails);
        let found = tails.values().filter(|tail| path.covers(&tail.path));
        found.cloned().collect()
    }
}

impl Tail {
    fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// How many records there have been.
    pub(super) fn total(&self) -> u64 {
        lock(&self.records).total
    }

    /// All but the first so many.
    pub(super) fn from(&self, read: u64) -> Part {
        let records = lock(&self.records);
        let first = records.total - records.last.len() as u64;
        let skip = usize::try_from(read.saturating_sub(first)).unwrap_or(usize::MAX);
        Part {
            missed: first.saturating_sub(read),
            total: records.total,
            records: records.last.iter().skip(skip).cloned().collect(),
        }
    }
}
