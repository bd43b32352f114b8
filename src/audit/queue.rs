use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{Audit, AuditFailureStrategy, log::NotRecorded};
use crate::{
    event::{LagLevel, TreeEvent},
    record::{LineFile, RETRY, Rotation},
    spec::{Backpressure, BackpressureStrategy, SupervisorPath},
    sync::lock,
    tree::Tree,
};

/// Records on their way to the file. Whoever commands puts them in; the root's task has them written.
pub(crate) struct Queue {
    strategy: AuditFailureStrategy,
    blocks: bool,
    capacity: usize,
    warn: usize,
    critical: usize,
    max_deferred: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    room: Notify,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Taken out of `entries`, and not safe yet.
    under_way: usize,
    /// Why the file could not be written last time.
    failing: Option<Arc<str>>,
    level: Option<LagLevel>,
    /// Records of refusals that found no room.
    lost: u64,
    closed: bool,
}

struct Entry {
    line: Vec<u8>,
    /// The command goes on once this is safe, or is refused: then it has to leave no record.
    admits: bool,
    safe: Option<oneshot::Sender<Result<(), NotRecorded>>>,
}

impl AsRef<[u8]> for Entry {
    fn as_ref(&self) -> &[u8] {
        &self.line
    }
}

impl Waiting {
    fn depth(&self) -> usize {
        self.entries.len() + self.under_way
    }
}

impl Queue {
    pub(super) fn new(audit: &Audit, terms: Backpressure) -> Self {
        let capacity = terms.audit_channel_capacity;
        let level = |pct| usize::try_from(Backpressure::level(pct, capacity)).unwrap_or(usize::MAX);
        Self {
            strategy: audit.failure_strategy,
            blocks: terms.strategy == BackpressureStrategy::AlertAndBlock,
            capacity,
            warn: level(terms.warn_pct),
            critical: level(terms.critical_pct),
            max_deferred: audit.max_defer_queue,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(super) async fn admit(
        &self,
        line: Vec<u8>,
        until: Instant,
        tree: &Tree,
    ) -> Result<(), NotRecorded> {
        self.wait_for_room(until).await?;
        let Some(answer) = self.enter(line, true, tree) else {
            return Ok(());
        };
        match timeout_at(until, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NotRecorded("the tree has ended".into())),
            Err(_) => Err(NotRecorded("it was not on storage in time".into())),
        }
    }

    pub(super) async fn note(&self, line: Vec<u8>, until: Instant, tree: &Tree) {
        if let Some(answer) = self.enter(line, false, tree) {
            // What has happened has happened; that it is not recorded the events tell.
            let _ = timeout_at(until, answer).await;
        }
    }

    /// Without waiting, and without an alert: whoever comes next raises it.
    pub(super) fn tell(&self, line: Vec<u8>) {
        self.put(Entry {
            line,
            admits: false,
            safe: None,
        });
    }

    /// Puts a record in; its answer, where it is to be waited for.
    fn enter(
        &self,
        line: Vec<u8>,
        admits: bool,
        tree: &Tree,
    ) -> Option<oneshot::Receiver<Result<(), NotRecorded>>> {
        let (safe, answer) = oneshot::channel();
        let waits = self.strategy == AuditFailureStrategy::FailClosed;
        self.put(Entry {
            line,
            admits,
            safe: waits.then_some(safe),
        });
        if let Some(alert) = self.alert() {
            tree.record(&SupervisorPath::root(), alert, 0);
        }
        waits.then_some(answer)
    }

    /// No more records will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
        self.room.notify_waiters();
    }

    async fn wait_for_room(&self, until: Instant) -> Result<(), NotRecorded> {
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            // Before looking, so that no room made in between is missed.
            room.as_mut().enable();
            {
                let waiting = self.lock();
                let depth = waiting.depth();
                if waiting.closed {
                    return Err(NotRecorded("the tree has ended".into()));
                }
                match &waiting.failing {
                    Some(error) if self.strategy == AuditFailureStrategy::DeferBounded => {
                        if depth < self.max_deferred {
                            return Ok(());
                        }
                        let reason = format!("{depth} records wait to be written already: {error}");
                        return Err(NotRecorded(reason.into()));
                    }
                    _ if depth < self.critical => return Ok(()),
                    _ if self.blocks => {}
                    _ if depth < self.capacity => return Ok(()),
                    _ => return Err(self.full(depth)),
                }
            }
            if timeout_at(until, room).await.is_err() {
                let depth = self.lock().depth();
                return Err(self.full(depth));
            }
        }
    }

    /// How many may wait while the file cannot be written.
    fn bound(&self) -> usize {
        self.capacity.max(self.max_deferred)
    }

    fn full(&self, depth: usize) -> NotRecorded {
        let reason = format!("{depth} of {} records wait to be written", self.capacity);
        NotRecorded(reason.into())
    }

    fn put(&self, entry: Entry) {
        let mut waiting = self.lock();
        // Refusals have no bound of their own, and are in memory and in the events as well.
        if !entry.admits && waiting.failing.is_some() && waiting.depth() >= self.bound() {
            waiting.lost += 1;
            return;
        }
        waiting.entries.push_back(entry);
        self.arrived.notify_one();
    }

    /// What has to be told of the queue's length, once each time it has grown to that.
    fn alert(&self) -> Option<TreeEvent> {
        let mut waiting = self.lock();
        let depth = waiting.depth();
        let level = match depth {
            _ if depth >= self.critical => LagLevel::Critical,
            _ if depth >= self.warn => LagLevel::Warning,
            _ => return None,
        };
        if !self.blocks || waiting.level >= Some(level) {
            return None;
        }
        waiting.level = Some(level);
        Some(TreeEvent::SubscriberLagged {
            subscriber: "audit".into(),
            level,
            behind: depth as u64,
            capacity: self.capacity as u64,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

/// Brings the queue to the file.
pub(crate) struct Writing {
    queue: Arc<Queue>,
    path: PathBuf,
    /// Away while a thread writes to it.
    file: Option<LineFile>,
    entries: Vec<Entry>,
}

impl Writing {
    pub(crate) fn open(queue: &Arc<Queue>, path: &Path, rotation: Rotation) -> io::Result<Self> {
        Ok(Self {
            queue: queue.clone(),
            path: path.to_owned(),
            file: Some(LineFile::open(path, rotation)?),
            entries: Vec::new(),
        })
    }

    /// Until the queue is closed and all of it is in the file.
    pub(crate) async fn run(mut self, tree: &Tree) {
        loop {
            let closed = {
                let mut waiting = self.queue.lock();
                self.entries.extend(waiting.entries.drain(..));
                waiting.under_way = self.entries.len();
                waiting.closed
            };
            if self.entries.is_empty() {
                if closed {
                    return;
                }
                self.queue.arrived.notified().await;
                continue;
            }
            let Some((done, result)) = self.write().await else {
                return;
            };
            self.settle(done, result.as_ref().err(), tree);
            if result.is_err() {
                // What cannot be written now may be later; whoever comes has it tried at once.
                tokio::select! {
                    () = self.queue.arrived.notified() => {}
                    () = sleep(RETRY) => {}
                }
            }
        }
    }

    /// Writes all there is and syncs it: how many are in the file, and whether they are safe. `None`: the
    /// runtime is torn down.
    async fn write(&mut self) -> Option<(usize, io::Result<()>)> {
        let mut file = self.file.take()?;
        let entries = std::mem::take(&mut self.entries);
        let written = tokio::task::spawn_blocking(move || {
            let (done, result) = file.write(&entries);
            let result = match done {
                0 => result,
                _ => file.sync().and(result),
            };
            (file, entries, done, result)
        });
        let (file, entries, done, result) = written.await.ok()?;
        (self.file, self.entries) = (Some(file), entries);
        Some((done, result))
    }

    /// Answers those who wait. After a failure what has happened is tried again, and what was only to
    /// happen is not, where that is refused.
    fn settle(&mut self, done: usize, error: Option<&io::Error>, tree: &Tree) {
        let reason: Option<Arc<str>> = error.map(|error| error.to_string().into());
        let in_file = self.entries.drain(..done);
        for entry in in_file {
            answer(entry, reason.as_ref());
        }
        if let Some(reason) = &reason
            && self.queue.strategy == AuditFailureStrategy::FailClosed
        {
            let refused = self.entries.extract_if(.., |entry| entry.admits);
            refused.for_each(|entry| answer(entry, Some(reason)));
        }
        let (told, lost) = {
            let mut waiting = self.queue.lock();
            waiting.under_way = self.entries.len();
            if waiting.depth() < self.queue.warn {
                waiting.level = None;
            }
            let told = std::mem::replace(&mut waiting.failing, reason.clone());
            let lost = match reason {
                Some(_) => 0,
                None => std::mem::take(&mut waiting.lost),
            };
            (told, lost)
        };
        self.queue.room.notify_waiters();
        let path = || self.path.to_string_lossy().into();
        let event = match (told, reason) {
            (None, Some(error)) => TreeEvent::AuditFailed {
                path: path(),
                error,
            },
            (Some(_), None) => TreeEvent::AuditRecovered { path: path(), lost },
            _ => return,
        };
        tree.record(&SupervisorPath::root(), event, 0);
    }
}

fn answer(entry: Entry, reason: Option<&Arc<str>>) {
    let Some(safe) = entry.safe else {
        return;
    };
    let result = reason.map_or(Ok(()), |reason| Err(NotRecorded(reason.clone())));
    // Nobody may wait any more.
    let _ = safe.send(result);
}
