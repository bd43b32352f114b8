use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervisor_layers::context::after;
use tokio::{sync::Notify, time::Instant};

use super::TreeEvent;
use crate::spec::{Backpressure, BackpressureStrategy};
use crate::sync::lock;

/// How a subscriber that is behind is seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LagLevel {
    /// Behind by the warning level.
    Warning,
    /// Behind by the critical level.
    Critical,
    /// What it had not read was taken from it: it finds a gap.
    CutOff,
    /// It gets a sample of the events until it has caught up.
    Sampled,
}

/// The tree's subscribers, as far as they are behind.
///
/// Whoever appends an event compares two numbers. Only when a subscriber may have come to a level is there
/// somebody who looks: the root's own task, which is woken for that.
pub(crate) struct Lag {
    pub(super) terms: Backpressure,
    pub(super) capacity: u64,
    warn: u64,
    critical: u64,
    /// From this head on somebody may have come to a level.
    alarm: AtomicU64,
    rung: Notify,
    subscribers: Mutex<Vec<Weak<Subscriber>>>,
}

/// One of them.
pub(super) struct Subscriber {
    name: Mutex<Arc<str>>,
    /// It has read all up to this, or need not.
    read: AtomicU64,
    /// What it has not read up to this was taken from it.
    cut: AtomicU64,
    level: AtomicU8,
    sampled: AtomicBool,
    left_out: AtomicU64,
    watched: Mutex<Watched>,
}

const FINE: u8 = 0;
const WARNED: u8 = 1;
const CRITICAL: u8 = 2;

/// What was told of it.
#[derive(Default)]
struct Watched {
    critical_since: Option<Instant>,
    sampling: bool,
}

/// What a look at the subscribers found.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) events: Vec<TreeEvent>,
    /// Those whose sample is over, with how much it left out.
    pub(crate) sampled: Vec<(Arc<str>, u64)>,
    /// When to look again whatever comes.
    pub(crate) again: Option<Instant>,
}

impl Lag {
    pub(crate) fn new(terms: Backpressure, capacity: usize) -> Self {
        Self {
            terms,
            capacity: u64::try_from(capacity.max(1)).unwrap_or(u64::MAX),
            warn: Backpressure::level(terms.warn_pct, capacity),
            critical: Backpressure::level(terms.critical_pct, capacity),
            alarm: AtomicU64::new(u64::MAX),
            rung: Notify::new(),
            subscribers: Mutex::default(),
        }
    }

    pub(super) fn admit(&self, head: u64) -> Arc<Subscriber> {
        let subscriber = Arc::new(Subscriber {
            name: Mutex::new("subscriber".into()),
            read: AtomicU64::new(head),
            cut: AtomicU64::new(0),
            level: AtomicU8::new(FINE),
            sampled: AtomicBool::new(false),
            left_out: AtomicU64::new(0),
            watched: Mutex::default(),
        });
        let mut subscribers = lock(&self.subscribers);
        subscribers.retain(|known| known.strong_count() > 0);
        subscribers.push(Arc::downgrade(&subscriber));
        drop(subscribers);
        self.expect(head.saturating_add(self.warn));
        subscriber
    }

    fn expect(&self, head: u64) {
        if self.terms.strategy != BackpressureStrategy::DropOldest {
            self.alarm.fetch_min(head, Ordering::Relaxed);
        }
    }

    /// The journal has grown to this.
    pub(super) fn grown(&self, head: u64) {
        if head >= self.alarm.load(Ordering::Relaxed) {
            self.rung.notify_one();
        }
    }

    /// A subscriber has read all up to this.
    pub(super) fn has_read(&self, subscriber: &Subscriber, read: u64, head: u64) {
        subscriber.read.fetch_max(read, Ordering::Relaxed);
        let behind = head.saturating_sub(read);
        if subscriber.level.load(Ordering::Relaxed) == FINE || behind >= self.warn {
            return;
        }
        subscriber.level.store(FINE, Ordering::Relaxed);
        self.expect(read.saturating_add(self.warn));
        if subscriber.sampled.swap(false, Ordering::Relaxed) {
            self.rung.notify_one();
        }
    }

    /// Resolves when somebody is to look.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Looks at all subscribers.
    pub(crate) fn look(&self, head: u64) -> Seen {
        let mut seen = Seen::default();
        let mut alarm = u64::MAX;
        // Whatever a subscriber reads from here on lowers it again.
        self.alarm.store(u64::MAX, Ordering::Relaxed);
        let known = lock(&self.subscribers).clone();
        for subscriber in known.iter().filter_map(Weak::upgrade) {
            alarm = alarm.min(self.look_at(&subscriber, head, &mut seen));
        }
        self.expect(alarm);
        seen
    }

    /// From which head on to look at it again.
    fn look_at(&self, subscriber: &Subscriber, head: u64, seen: &mut Seen) -> u64 {
        let mut watched = lock(&subscriber.watched);
        let read = subscriber.read.load(Ordering::Relaxed);
        let behind = head.saturating_sub(read);
        if watched.sampling && !subscriber.sampled.load(Ordering::Relaxed) {
            watched.sampling = false;
            let left_out = subscriber.left_out.swap(0, Ordering::Relaxed);
            seen.sampled.push((subscriber.name(), left_out));
        }
        if behind < self.warn {
            subscriber.level.store(FINE, Ordering::Relaxed);
            watched.critical_since = None;
            return read.saturating_add(self.warn);
        }
        let told = subscriber.level.load(Ordering::Relaxed);
        if told < WARNED {
            seen.events
                .push(self.lagged(subscriber, LagLevel::Warning, behind));
        }
        if behind < self.critical {
            subscriber.level.store(WARNED, Ordering::Relaxed);
            watched.critical_since = None;
            return read.saturating_add(self.critical);
        }
        subscriber.level.store(CRITICAL, Ordering::Relaxed);
        if self.terms.strategy == BackpressureStrategy::SampleAndAudit {
            if !watched.sampling {
                watched.sampling = true;
                subscriber.sampled.store(true, Ordering::Relaxed);
                seen.events
                    .push(self.lagged(subscriber, LagLevel::Sampled, behind));
            }
            return u64::MAX;
        }
        if told < CRITICAL {
            seen.events
                .push(self.lagged(subscriber, LagLevel::Critical, behind));
        }
        let now = Instant::now();
        let due = after(
            *watched.critical_since.get_or_insert(now),
            self.terms.window,
        );
        if due > now {
            seen.again = Some(seen.again.map_or(due, |again| again.min(due)));
            return u64::MAX;
        }
        watched.critical_since = None;
        subscriber.cut.store(head, Ordering::Relaxed);
        subscriber.read.fetch_max(head, Ordering::Relaxed);
        subscriber.level.store(FINE, Ordering::Relaxed);
        seen.events
            .push(self.lagged(subscriber, LagLevel::CutOff, behind));
        head.saturating_add(self.warn)
    }

    fn lagged(&self, subscriber: &Subscriber, level: LagLevel, behind: u64) -> TreeEvent {
        TreeEvent::SubscriberLagged {
            subscriber: subscriber.name(),
            level,
            behind,
            capacity: self.capacity,
        }
    }
}

impl Subscriber {
    pub(super) fn rename(&self, name: Arc<str>) {
        *lock(&self.name) = name;
    }

    pub(super) fn name(&self) -> Arc<str> {
        lock(&self.name).clone()
    }

    /// What it has not read up to here was taken from it.
    pub(super) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.sampled.load(Ordering::Relaxed)
    }

    pub(super) fn leaves_out(&self, events: u64) {
        self.left_out.fetch_add(events, Ordering::Relaxed);
    }
}
