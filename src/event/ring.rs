use std::{
    collections::VecDeque,
    iter,
    pin::Pin,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use supervisor_layers::{
    context::{Recorded, RunId},
    policy::Nanos,
};
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::{
    EventFilter, EventKind, Lag, SupervisorEvent,
    entry::Entry,
    records::{Record, Records, Whose},
};
use crate::{lanes::Lanes, spec::SupervisorPath, sync::Apart};

/// The tree's memory: the last records, under one sequence.
///
/// A thread appends to a lane of its own, so that threads hand each other a number and nothing else. Who reads
/// brings the lanes together.
pub(crate) struct Ring {
    epoch: Arc<str>,
    born: Instant,
    born_at: SystemTime,
    capacity: usize,
    pub(crate) lag: Lag,
    /// Whether gaps are counted in metrics.
    pub(super) counted: bool,
    /// The last sequence that was given out.
    last: Apart<AtomicU64>,
    /// No more will come.
    closed: AtomicBool,
    lanes: Lanes<Records>,
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

/// Whose event it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) path: &'a Arc<str>,
    pub(crate) instance: u64,
    pub(crate) generation: u64,
    pub(crate) attempt: u32,
}

impl<'a> Origin<'a> {
    /// What stands there, and no run of it.
    pub(crate) fn of_path(path: &'a SupervisorPath) -> Self {
        Self {
            path: path.as_shared(),
            instance: 0,
            generation: 0,
            attempt: 0,
        }
    }
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
    /// After how many events a lane is swept.
    const SWEEP: u64 = 32;

    pub(crate) fn new(capacity: usize, lag: Lag, counted: bool) -> Self {
        Self {
            epoch: epoch().into(),
            born: Instant::now(),
            born_at: SystemTime::now(),
            capacity: capacity.max(1),
            lag,
            counted,
            last: Apart::default(),
            closed: AtomicBool::new(false),
            lanes: Lanes::default(),
            grown: Arc::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// When that was by the wall clock.
    pub(crate) fn born_at(&self) -> SystemTime {
        self.born_at
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.uptime_at(Instant::now())
    }

    /// From when on times are counted.
    pub(crate) fn origin(&self) -> Instant {
        self.born
    }

    pub(crate) fn now(&self) -> Nanos {
        self.uptime().into()
    }

    pub(crate) fn uptime_at(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.born)
    }

    /// The sequence of the last event.
    pub(crate) fn head(&self) -> u64 {
        self.last.0.load(Ordering::Acquire)
    }

    /// Appends what happened at once. With no correlation given, it is tied to itself if it opens a chain of
    /// consequences.
    pub(crate) fn append<'a>(
        &self,
        origin: Origin<'_>,
        at: Nanos,
        entry: impl Into<Entry<'a>>,
        correlation: u64,
    ) -> Recorded {
        let entry = entry.into();
        let (count, opens) = (u64::from(entry.count()), entry.opens());
        let mut lane = self.lanes.own();
        // The lane is held meanwhile: a reader, who holds them all, finds every number that is given out.
        let sequence = self.last.0.fetch_add(count, Ordering::AcqRel) + 1;
        let head = sequence + count - 1;
        let correlation = match correlation {
            0 if opens => sequence,
            correlation => correlation,
        };
        // Never falling behind: an append makes one record, and takes two away at most.
        let first = self.first(head);
        if first == 1 {
            lane.open(self.capacity);
        } else if lane.forget(first) {
            lane.forget(first);
        }
        lane.push(sequence, at, origin, correlation, entry);
        drop(lane);
        if sequence / Self::SWEEP != (head + 1) / Self::SWEEP {
            self.sweep(head);
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.grown.notify_waiters();
        }
        self.lag.grown(head);
        Recorded {
            sequence: head,
            correlation,
        }
    }

    /// Clears up in one of the lanes: its thread may append no more.
    fn sweep(&self, head: u64) {
        let lane = self.lanes.at((head / Self::SWEEP) as usize);
        // Or its thread does, and clears up itself.
        let Ok(mut lane) = lane.try_lock() else {
            return;
        };
        let first = self.first(head);
        let most = 2 * Self::SWEEP as usize;
        let _ = (0..most).all(|_| lane.forget(first));
        // Before anything is forgotten all lanes may still come to need what they have.
        if first > 1 {
            lane.shrink();
        }
    }

    /// The first sequence that is remembered when the last is `head`.
    fn first(&self, head: u64) -> u64 {
        (head + 1).saturating_sub(self.capacity as u64).max(1)
    }

    /// No more events will come: readers end when they have read all.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.grown.notify_waiters();
    }

    /// What there is for a reader from `next` on. Nobody has to wait for long for who reads: it looks at a
    /// part of the ring only, whatever it is looking for.
    ///
    /// Threads that append at once may have read the clock in another order than they got their numbers: for a
    /// reader time does not go back, from `after` on.
    pub(super) fn read(&self, next: u64, after: Duration, wanted: &Selection) -> Read {
        let closed = self.closed.load(Ordering::Acquire);
        let lanes = self.lanes.all();
        let head = self.head();
        if next > head {
            return if closed { Read::Closed } else { Read::Empty };
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
        let (mut end, mut uptime) = (next, after);
        for (lane, record) in merged(&lanes, next) {
            let whose = lane.whose(record);
            for (sequence, kind) in (record.sequence..).zip(lane.kinds(record)) {
                if sequence < next {
                    continue;
                }
                if batch.len() == Self::BATCH || sequence - next == Self::SCAN {
                    return Read::Events { batch, next: end };
                }
                if wanted.filter.passes(&whose.path, &kind) {
                    uptime = uptime.max(record.uptime.into());
                    batch.push_back(self.event(record, whose, sequence, uptime, kind));
                }
                end = sequence + 1;
            }
        }
        Read::Events { batch, next: end }
    }

    /// All that it holds from `at` on, and how many of those it holds no more.
    pub(crate) fn held_from(&self, mut at: u64) -> (Vec<SupervisorEvent>, u64) {
        let everything = Selection::default();
        let mut held: Vec<SupervisorEvent> = Vec::new();
        let mut lost = 0;
        loop {
            let after = held.last().map_or(Duration::ZERO, |last| last.uptime);
            match self.read(at, after, &everything) {
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

    fn event(
        &self,
        record: &Record,
        whose: &Whose,
        sequence: u64,
        uptime: Duration,
        kind: EventKind,
    ) -> SupervisorEvent {
        SupervisorEvent {
            schema: SupervisorEvent::SCHEMA,
            epoch: self.epoch.clone(),
            sequence,
            at: self.born_at + uptime,
            uptime,
            path: SupervisorPath::of(whose.path.clone()),
            instance: whose.instance,
            generation: record.generation,
            // What concerns the tree is no attempt of the child's.
            attempt: match kind {
                EventKind::Lifecycle(_) => record.attempt,
                EventKind::Tree(_) => 0,
            },
            correlation_id: (record.correlation != 0).then_some(record.correlation),
            kind,
        }
    }
}

/// The records of all lanes from the one on that holds this sequence, in order.
fn merged<'a>(
    lanes: &'a [MutexGuard<'_, Records>],
    sequence: u64,
) -> impl Iterator<Item = (&'a Records, &'a Record)> {
    let mut lanes: Vec<_> = lanes
        .iter()
        .map(|lane| (&**lane, lane.from(sequence).peekable()))
        .collect();
    iter::from_fn(move || {
        let (lane, records) = lanes
            .iter_mut()
            .filter_map(|(lane, records)| Some((records.peek()?.sequence, lane, records)))
            .min_by_key(|(sequence, ..)| *sequence)
            .map(|(_, lane, records)| (lane, records))?;
        Some((*lane, records.next()?))
    })
}

/// Unique to this life of the process: its id and the nanosecond it was asked.
fn epoch() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_nanos())
}
