use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use super::{Audit, AuditEntry, AuditRecord, Backend, queue::Queue};
use crate::sync::lock;
use crate::{record::encode, spec::Backpressure, tree::Tree};

/// A tree's audit.
pub(crate) struct AuditLog {
    epoch: Arc<str>,
    memory: usize,
    numbers: AtomicU64,
    recent: Mutex<VecDeque<AuditRecord>>,
    /// To the file.
    queue: Option<Arc<Queue>>,
}

/// Why a record could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotRecorded(pub(crate) Arc<str>);

impl AuditLog {
    pub(crate) fn new(audit: &Audit, backpressure: Backpressure, epoch: Arc<str>) -> Self {
        let to_file = matches!(audit.backend, Backend::File { .. });
        Self {
            epoch,
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
        self.lock().iter().cloned().collect()
    }

    /// Records what is about to happen. An error: it must not, and a
    /// record of that number may be in the file nevertheless.
    pub(crate) async fn admit(
        &self,
        entry: AuditEntry,
        until: Instant,
        tree: &Tree,
    ) -> Result<u64, (u64, NotRecorded)> {
        let record = self.record(entry);
        let number = record.number;
        if let Some(queue) = &self.queue {
            let line = line(&record).map_err(|error| (number, error))?;
            let admitted = queue.admit(line, until, tree).await;
            admitted.map_err(|error| (number, error))?;
        }
        self.remember(record);
        Ok(number)
    }

    /// Records what has happened, and waits until that is safe, for as long as `until`.
    pub(crate) async fn note(&self, entry: AuditEntry, until: Instant, tree: &Tree) {
        let record = self.record(entry);
        if let Some(queue) = &self.queue
            && let Ok(line) = line(&record)
        {
            queue.note(line, until, tree).await;
        }
        self.remember(record);
    }

    /// Records without waiting.
    pub(crate) fn tell(&self, entry: AuditEntry) {
        let record = self.record(entry);
        if let Some(queue) = &self.queue
            && let Ok(line) = line(&record)
        {
            queue.tell(line);
        }
        self.remember(record);
    }

    fn record(&self, entry: AuditEntry) -> AuditRecord {
        AuditRecord {
            schema: AuditRecord::SCHEMA,
            epoch: self.epoch.clone(),
            number: self.numbers.fetch_add(1, Ordering::Relaxed) + 1,
            at: SystemTime::now(),
            entry,
        }
    }

    fn remember(&self, record: AuditRecord) {
        let mut recent = self.lock();
        while recent.len() >= self.memory.max(1) {
            recent.pop_front();
        }
        if self.memory > 0 {
            recent.push_back(record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<AuditRecord>> {
        lock(&self.recent)
    }
}

fn line(record: &AuditRecord) -> Result<Vec<u8>, NotRecorded> {
    encode(record).map_err(|error| NotRecorded(error.to_string().into()))
}
