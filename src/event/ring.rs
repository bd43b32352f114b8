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

use super::{
    EventFilter, EventKind, Lag, SupervisorEvent,
    entry::{Entry, Kinds, Plain, Told},
};
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

/// The last records.
#[derive(Default)]
struct Records {
    records: VecDeque<Record>,
    /// What those have to say that are told, in the same order.
    told: VecDeque<Told>,
    /// The number of the first of these; it wraps.
    first_told: u32,
    closed: bool,
}

/// One append.
struct Record {
    /// Of its first event.
    sequence: u64,
    uptime: Uptime,
    path: Arc<str>,
    instance: u64,
    generation: u64,
    correlation: u64,
    attempt: u32,
    what: What,
}

enum What {
    Plain(Plain),
    /// Told under this number.
    Told(u32),
}

/// In nanoseconds: there are many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Uptime(u64);

impl From<Duration> for Uptime {
    fn from(time: Duration) -> Self {
        Self(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Uptime> for Duration {
    fn from(uptime: Uptime) -> Self {
        Self::from_nanos(uptime.0)
    }
}

impl Records {
    fn tell(&mut self, entry: Entry) -> What {
        match entry {
            Entry::Plain(plain) => What::Plain(plain),
            Entry::Told(told) => {
                self.told.push_back(told);
                // There are never so many that the number could not tell them apart.
                What::Told(self.first_told.wrapping_add(self.told.len() as u32 - 1))
            }
        }
    }

    /// Takes out the oldest record, if all of it is older than `first`.
    fn forget(&mut self, first: u64) -> Option<(Record, Option<Told>)> {
        self.records.get(1).filter(|next| next.sequence <= first)?;
        let record = self.records.pop_front()?;
        let told = match record.what {
            What::Plain(_) => None,
            What::Told(_) => {
                self.first_told = self.first_told.wrapping_add(1);
                self.told.pop_front()
            }
        };
        Some((record, told))
    }

    /// The records from the one on that holds this sequence.
    fn from(&self, sequence: u64) -> impl Iterator<Item = &Record> {
        let after = |record: &Record| record.sequence <= sequence;
        let begin = self.records.partition_point(after).saturating_sub(1);
        self.records.range(begin..)
    }

    fn kinds(&self, record: &Record) -> Kinds {
        match record.what {
            What::Plain(plain) => Kinds::from_iter([plain.kind()]),
            What::Told(number) => {
                let at = number.wrapping_sub(self.first_told) as usize;
                self.told.get(at).map(Told::kinds).unwrap_or_default()
            }
        }
    }
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
    const SCAN: u64 = 4 * Self::BATCH as u64;

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

    /// Appends what happened at once. With no correlation given, it is tied to itself if it opens a chain of
    /// consequences.
    pub(crate) fn append(
        &self,
        origin: Origin<'_>,
        at: Instant,
        entry: impl Into<Entry>,
        correlation: u64,
    ) -> Recorded {
        let entry = entry.into();
        let (count, opens) = (entry.count(), entry.opens());
        let uptime = Uptime::from(self.uptime_at(at));
        let path = origin.path.clone();
        let mut ring = self.ring();
        let sequence = self.head.load(Ordering::Relaxed) + 1;
        let head = sequence + count - 1;
        // Never falling behind: an append makes one record, and takes two away at most. They are dropped when
        // nobody waits for that.
        let first = self.first(head);
        let _forgotten = [ring.forget(first), ring.forget(first)];
        let record = Record {
            sequence,
            // Somebody was quicker; or the clock is a virtual one, and this is none of its threads.
            uptime: match ring.records.back() {
                Some(last) => uptime.max(last.uptime),
                None => uptime,
            },
            path,
            instance: origin.instance,
            generation: origin.generation,
            correlation: match correlation {
                0 if opens => sequence,
                correlation => correlation,
            },
            attempt: origin.attempt,
            what: ring.tell(entry),
        };
        let correlation = record.correlation;
        ring.records.push_back(record);
        self.head.store(head, Ordering::Release);
        drop(ring);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.grown.notify_waiters();
        }
        self.lag.grown(head);
        Recorded {
            sequence: head,
            correlation,
        }
    }

    /// The first sequence that is remembered when the last is `head`.
    fn first(&self, head: u64) -> u64 {
        (head + 1).saturating_sub(self.capacity as u64).max(1)
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
        let first = self.first(head);
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
        for record in ring.from(next) {
            for (sequence, kind) in (record.sequence..).zip(ring.kinds(record)) {
                if sequence < next {
                    continue;
                }
                if batch.len() == Self::BATCH || sequence - next == Self::SCAN {
                    return Read::Events { batch, next: end };
                }
                if wanted.filter.passes(&record.path, &kind) {
                    batch.push_back(self.event(record, sequence, kind));
                }
                end = sequence + 1;
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

    fn event(&self, record: &Record, sequence: u64, kind: EventKind) -> SupervisorEvent {
        let uptime = record.uptime.into();
        SupervisorEvent {
            schema: SupervisorEvent::SCHEMA,
            epoch: self.epoch.clone(),
            sequence,
            at: self.born_at + uptime,
            uptime,
            path: SupervisorPath::of(record.path.clone()),
            instance: record.instance,
            generation: record.generation,
            attempt: record.attempt,
            correlation_id: (record.correlation != 0).then_some(record.correlation),
            kind,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Records> {
        lock(&self.ring)
    }
}

/// Unique to this life of the process: its id and the nanosecond it was asked.
fn epoch() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_nanos())
}
