use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use supervisor_layers::context::{Recorded, RunId};
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::{EventFilter, EventKind, Lag, SupervisorEvent};
use crate::spec::SupervisorPath;
use crate::sync::lock;

/// The tree's memory: a ring of compact records under one sequence.
pub(crate) struct Ring {
    epoch: Arc<str>,
    born: Instant,
    born_at: SystemTime,
    capacity: usize,
    pub(crate) lag: Lag,
    /// Whether gaps are counted in metrics.
    pub(super) counted: bool,
    /// The sequence of the last record; readable without the lock.
    head: AtomicU64,
    ring: Mutex<Records>,
    grown: Arc<Notify>,
    /// How many wait for it to grow.
    waiting: AtomicUsize,
}

/// A wait for what comes next.
pub(super) struct Growth {
    ring: Arc<Ring>,
    grown: Pin<Box<OwnedNotified>>,
}

impl Growth {
    /// Begins now: nothing that is appended from now on is missed.
    pub(super) fn of(ring: &Arc<Ring>) -> Self {
        ring.waiting.fetch_add(1, Ordering::SeqCst);
        let mut grown = Box::pin(ring.grown.clone().notified_owned());
        grown.as_mut().enable();
        Self {
            ring: ring.clone(),
            grown,
        }
    }
}

impl Future for Growth {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.grown.as_mut().poll(cx)
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.ring.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The last records, each at its sequence modulo the capacity.
#[derive(Default)]
struct Records {
    records: Vec<Record>,
    closed: bool,
}

impl Records {
    /// Where the record of a sequence is or comes to be; they begin with 1.
    fn place(sequence: u64, capacity: usize) -> usize {
        usize::try_from((sequence - 1) % capacity as u64).unwrap_or_default()
    }

    fn keep(&mut self, sequence: u64, capacity: usize, record: Record) {
        match self.records.get_mut(Self::place(sequence, capacity)) {
            Some(oldest) => *oldest = record,
            None => self.records.push(record),
        }
    }
}

struct Record {
    uptime: Duration,
    path: Arc<str>,
    instance: u64,
    generation: u64,
    attempt: u32,
    correlation: u64,
    kind: EventKind,
}

/// Whose event it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) path: &'a Arc<str>,
    pub(crate) instance: u64,
    pub(crate) generation: u64,
    pub(crate) attempt: u32,
}

impl<'a> From<RunId<'a>> for Origin<'a> {
    fn from(run: RunId<'a>) -> Self {
        Self {
            path: run.path,
            instance: run.instance,
            generation: run.generation,
            attempt: run.attempt,
        }
    }
}

/// What a reader finds at its cursor.
pub(super) enum Read {
    /// Events from the cursor on, and where to go on.
    Events {
        batch: VecDeque<SupervisorEvent>,
        next: u64,
    },
    /// Nothing yet.
    Empty,
    /// So many are no longer to be had; the cursor is to go on from there.
    Gap { missed: u64, next: u64 },
    /// Nothing any more.
    Closed,
}

/// What a reader wants; as it is made, all there is.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) filter: EventFilter,
    /// How far behind it may be in what came after `since`.
    pub(super) reach: Option<u64>,
    pub(super) since: u64,
}

impl Ring {
    /// How many events are read at once, and how many are looked at for those.
    const BATCH: usize = 64;
    const SCAN: usize = 4 * Self::BATCH;

    pub(crate) fn new(capacity: usize, lag: Lag, counted: bool) -> Self {
        Self {
            epoch: epoch().into(),
            born: Instant::now(),
            born_at: SystemTime::now(),
            capacity: capacity.max(1),
            lag,
            counted,
            head: AtomicU64::new(0),
            ring: Mutex::default(),
            grown: Arc::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.uptime_at(Instant::now())
    }

    pub(crate) fn uptime_at(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.born)
    }

    /// The sequence of the last event.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Appends events of one origin. With no correlation given, they are tied to the first of them if it
    /// is an `opens` one.
    pub(crate) fn append<K: Into<EventKind>>(
        &self,
        origin: Origin<'_>,
        at: Instant,
        kinds: impl IntoIterator<Item = K>,
        correlation: u64,
    ) -> Recorded {
        let mut uptime = self.uptime_at(at);
        let mut ring = self.ring();
        // Somebody was quicker; or the clock is a virtual one, and this is none of its threads.
        let mut sequence = self.head.load(Ordering::Relaxed);
        if sequence > 0 {
            let last = &ring.records[Records::place(sequence, self.capacity)];
            uptime = uptime.max(last.uptime);
        }
        let mut correlation = correlation;
        for kind in kinds {
            let kind = kind.into();
            sequence += 1;
            if correlation == 0 && opens(&kind) {
                correlation = sequence;
            }
            ring.keep(
                sequence,
                self.capacity,
                Record {
                    uptime,
                    path: origin.path.clone(),
                    instance: origin.instance,
                    generation: origin.generation,
                    attempt: origin.attempt,
                    correlation,
                    kind,
                },
            );
        }
        self.head.store(sequence, Ordering::Release);
        drop(ring);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.grown.notify_waiters();
        }
        self.lag.grown(sequence);
        Recorded {
            sequence,
            correlation,
        }
    }

    /// No more events will come: readers end when they have read all.
    pub(crate) fn close(&self) {
        self.ring().closed = true;
        self.grown.notify_waiters();
    }

    /// What there is for a reader from `next` on. Nobody has to wait for long for who reads: it looks at a
    /// part of the ring only, whatever it is looking for.
    pub(super) fn read(&self, next: u64, wanted: &Selection) -> Read {
        let ring = self.ring();
        let head = self.head.load(Ordering::Relaxed);
        if next > head {
            return if ring.closed {
                Read::Closed
            } else {
                Read::Empty
            };
        }
        let first = head + 1 - ring.records.len() as u64;
        let reachable = match wanted.reach {
            Some(reach) if next > wanted.since => first.max((head + 1).saturating_sub(reach)),
            _ => first,
        };
        if next < reachable {
            return Read::Gap {
                missed: reachable - next,
                next: reachable,
            };
        }
        let mut batch = VecDeque::new();
        let mut end = next;
        for sequence in (next..=head).take(Self::SCAN) {
            let record = &ring.records[Records::place(sequence, self.capacity)];
            if wanted.filter.passes(&record.path, &record.kind) {
                batch.push_back(self.expand(record, end));
            }
            end += 1;
            if batch.len() == Self::BATCH {
                break;
            }
        }
        Read::Events { batch, next: end }
    }

    /// All that it holds from `at` on, and how many of those it holds no more.
    pub(crate) fn held_from(&self, mut at: u64) -> (Vec<SupervisorEvent>, u64) {
        let everything = Selection::default();
        let mut held = Vec::new();
        let mut lost = 0;
        loop {
            match self.read(at, &everything) {
                Read::Events { batch, next } => {
                    held.extend(batch);
                    at = next;
                }
                Read::Gap { missed, next } => {
                    lost += missed;
                    at = next;
                }
                Read::Empty | Read::Closed => return (held, lost),
            }
        }
    }

    fn expand(&self, record: &Record, sequence: u64) -> SupervisorEvent {
        SupervisorEvent {
            schema: SupervisorEvent::SCHEMA,
            epoch: self.epoch.clone(),
            sequence,
            at: self.born_at + record.uptime,
            uptime: record.uptime,
            path: SupervisorPath::of(record.path.clone()),
            instance: record.instance,
            generation: record.generation,
            attempt: record.attempt,
            correlation_id: (record.correlation != 0).then_some(record.correlation),
            kind: record.kind.clone(),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Records> {
        lock(&self.ring)
    }
}

/// An exit and a command open a chain of consequences.
fn opens(kind: &EventKind) -> bool {
    use supervisor_layers::LifecycleEvent::{Exited, Unhealthy};

    matches!(
        kind,
        EventKind::Lifecycle(Exited { .. } | Unhealthy { .. })
            | EventKind::Tree(
                super::TreeEvent::CommandAccepted { .. } | super::TreeEvent::CommandRefused { .. }
            )
    )
}

/// Unique to this life of the process: its id and the nanosecond it was asked.
fn epoch() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_nanos())
}
