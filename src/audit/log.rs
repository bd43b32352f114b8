use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use supervisor_layers::policy::Nanos;

use super::{Audit, AuditRecord, Backend, Entry, queue::Queue};
use crate::{meta::CommandMeta, record::encode, spec::Backpressure, sync::lock, tree::Tree};

/// A tree's audit.
pub(crate) struct AuditLog {
    epoch: Arc<str>,
    /// When the times of its records count from.
    born_at: SystemTime,
    memory: usize,
    numbers: AtomicU64,
    recent: Mutex<VecDeque<Kept>>,
    /// To the file.
    queue: Option<Arc<Queue>>,
}

/// A record until somebody reads it.
struct Kept {
    number: u64,
    at: Nanos,
    entry: Entry,
}

/// Why a record could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotRecorded(pub(crate) Arc<str>);

impl AuditLog {
    /// For a tree of this epoch, which began then.
    pub(crate) fn new(
        audit: &Audit,
        backpressure: Backpressure,
        epoch: Arc<str>,
        born_at: SystemTime,
    ) -> Self {
        let to_file = matches!(audit.backend, Backend::File { .. });
        Self {
            epoch,
            born_at,
            memory: audit.memory,
            numbers: AtomicU64::new(0),
            recent: Mutex::default(),
            queue: to_file.then(|| Arc::new(Queue::new(audit, backpressure))),
        }
    }

    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.as_ref()
    }

    /// The last records, the oldest first.
    pub(crate) fn recent(&self) -> Vec<AuditRecord> {
        self.lock().iter().map(|kept| self.told(kept)).collect()
    }

    /// Records what is about to happen, for as long as whoever wants it has patience. An error: it must not, and
    /// a record of that number may be in the file nevertheless.
    pub(crate) async fn admit(
        &self,
        entry: Entry,
        at: Nanos,
        by: &CommandMeta,
        tree: &Tree,
    ) -> Result<u64, (u64, NotRecorded)> {
        let kept = self.kept(entry, at);
        let number = kept.number;
        if let Some(queue) = &self.queue {
            let line = self.line(&kept).map_err(|error| (number, error))?;
            // In a box: nearly all of the wait is for the file's sake, and most trees have none.
            let admitted = Box::pin(queue.admit(line, by.deadline(), tree)).await;
            admitted.map_err(|error| (number, error))?;
        }
        self.remember(kept);
        Ok(number)
    }

    /// Records what has happened, and waits until that is safe, for as long as whoever wanted it has patience.
    pub(crate) async fn note(&self, entry: Entry, at: Nanos, by: &CommandMeta, tree: &Tree) {
        let kept = self.kept(entry, at);
        if let Some(queue) = &self.queue
            && let Ok(line) = self.line(&kept)
        {
            Box::pin(queue.note(line, by.deadline(), tree)).await;
        }
        self.remember(kept);
    }

    /// Records without waiting.
    pub(crate) fn tell(&self, entry: Entry, at: Nanos) {
        let kept = self.kept(entry, at);
        if let Some(queue) = &self.queue
            && let Ok(line) = self.line(&kept)
        {
            queue.tell(line);
        }
        self.remember(kept);
    }

    fn kept(&self, entry: Entry, at: Nanos) -> Kept {
        Kept {
            number: self.numbers.fetch_add(1, Ordering::Relaxed) + 1,
            at,
            entry,
        }
    }

    fn told(&self, kept: &Kept) -> AuditRecord {
        AuditRecord {
            schema: AuditRecord::SCHEMA,
            epoch: self.epoch.clone(),
            number: kept.number,
            at: self.born_at + Duration::from(kept.at),
            entry: kept.entry.told(),
        }
    }

    fn line(&self, kept: &Kept) -> Result<Vec<u8>, NotRecorded> {
        encode(&self.told(kept)).map_err(|error| NotRecorded(error.to_string().into()))
    }

    fn remember(&self, kept: Kept) {
        let mut recent = self.lock();
        while recent.len() >= self.memory.max(1) {
            recent.pop_front();
        }
        if self.memory > 0 {
            recent.push_back(kept);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        lock(&self.recent)
    }
}
