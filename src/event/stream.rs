use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;

use super::{
    EventFilter, SupervisorEvent,
    lag::Subscriber,
    ring::{Growth, Read, Ring, Selection},
};
use crate::{metrics, spec::BackpressureStrategy};

/// What a subscriber reads.
#[derive(Debug, Clone, PartialEq)]
pub enum EventItem {
    /// An event.
    Event(SupervisorEvent),
    /// The subscriber was too far behind: so many events are not to be had any more.
    Gap {
        /// How many.
        missed: u64,
    },
}

impl EventItem {
    /// The event, unless it is a gap.
    pub fn event(self) -> Option<SupervisorEvent> {
        match self {
            Self::Event(event) => Some(event),
            Self::Gap { .. } => None,
        }
    }
}

/// A subscription: the tree's events from where it was taken, read at the subscriber's own pace.
///
/// A subscriber blocks nobody, and what it does not read in time it loses: it finds an
/// [`EventItem::Gap`] with the number it missed. When that is, the tree's
/// [`Backpressure`](crate::Backpressure) says; what is no longer in the journal's ring is lost in any case.
/// What had happened before it was taken is no lag: it is there as far back as the ring holds it. Ends when
/// the tree has ended and all was read.
///
/// While it gets a [sample](crate::BackpressureStrategy::SampleAndAudit), a gap before an event tells how many
/// of that kind were left out, and a gap at the sample's end how many others: together, events and gaps are
/// always all there were.
///
/// # Cancel safety
///
/// Dropping a future of [`next`](Self::next) loses nothing.
pub struct EventStream {
    ring: Arc<Ring>,
    subscriber: Arc<Subscriber>,
    wanted: Selection,
    /// The next to be given to the subscriber, or left out.
    next: u64,
    /// Of the last that was given to it.
    uptime: Duration,
    batch: VecDeque<SupervisorEvent>,
    /// Where the next batch begins.
    batch_end: u64,
    sample: Sample,
    waiting: Option<Growth>,
}

impl EventStream {
    pub(crate) fn new(ring: Arc<Ring>, next: u64) -> Self {
        let head = ring.head();
        let reach = (ring.lag.terms.strategy == BackpressureStrategy::DropOldest)
            .then_some(ring.lag.capacity);
        Self {
            subscriber: ring.lag.admit(head),
            wanted: Selection {
                filter: EventFilter::new(),
                reach,
                since: head,
            },
            next,
            uptime: Duration::ZERO,
            batch: VecDeque::new(),
            batch_end: next,
            sample: Sample::default(),
            waiting: None,
            ring,
        }
    }

    /// These events alone. What does not pass is read over, and is in no gap unless it was lost with
    /// others.
    #[must_use]
    pub fn filtered(mut self, filter: EventFilter) -> Self {
        self.wanted.filter = filter;
        // What was read ahead was chosen by the filter before.
        self.batch.clear();
        self.batch_end = self.next;
        self
    }

    /// What the subscriber is called in events and metrics that tell of its lag; one of few names, as it is
    /// a label of metrics.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        self.subscriber.rename(name.into());
        self
    }

    /// The sequence that it goes on from.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next event or gap; `None` when the tree has ended and all was read.
    pub async fn next(&mut self) -> Option<EventItem> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// A reader that never catches up lets others have its worker thread now and then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<EventItem>> {
        let turn = ready!(tokio::task::coop::poll_proceed(cx));
        let item = ready!(self.read_on(cx));
        turn.made_progress();
        Poll::Ready(item)
    }

    fn read_on(&mut self, cx: &mut Context<'_>) -> Poll<Option<EventItem>> {
        loop {
            if let Some(gap) = self.cut_off() {
                return Poll::Ready(Some(gap));
            }
            if let Some(event) = self.batch.front() {
                if !self.subscriber.is_sampled()
                    && let Some(missed) = self.sample.over()
                {
                    return Poll::Ready(Some(self.gap(missed)));
                }
                if self.subscriber.is_sampled() {
                    match self
                        .sample
                        .take(event.kind.name(), self.ring.lag.terms.sample_every)
                    {
                        Taken::Event => {}
                        Taken::After(missed) => {
                            return Poll::Ready(Some(self.gap(missed)));
                        }
                        Taken::LeftOut => {
                            self.subscriber.leaves_out(1);
                            self.passed();
                            continue;
                        }
                    }
                }
                let event = self.passed();
                return Poll::Ready(event.map(EventItem::Event));
            }
            self.advance(self.batch_end);
            // Registered before reading, so that nothing appended in between is missed.
            let waiting = self.waiting.get_or_insert_with(|| Growth::of(&self.ring));
            match self.ring.read(self.next, self.uptime, &self.wanted) {
                Read::Events { batch, next } => {
                    self.batch = batch;
                    self.batch_end = next;
                    continue;
                }
                Read::Gap { missed, next } => {
                    self.go_on_from(next);
                    return Poll::Ready(Some(self.gap(missed)));
                }
                Read::Closed => {
                    let left_out = self.sample.over();
                    return Poll::Ready(left_out.map(|missed| self.gap(missed)));
                }
                Read::Empty => {
                    if let Some(missed) = self.sample.over() {
                        return Poll::Ready(Some(self.gap(missed)));
                    }
                }
            }
            ready!(Pin::new(waiting).poll(cx));
            self.waiting = None;
        }
    }

    /// The first event of the batch is behind the subscriber.
    fn passed(&mut self) -> Option<SupervisorEvent> {
        let event = self.batch.pop_front()?;
        self.uptime = event.uptime;
        self.advance(event.sequence + 1);
        Some(event)
    }

    fn advance(&mut self, next: u64) {
        self.next = self.next.max(next);
        let ring = &self.ring;
        let read = self.next.saturating_sub(1);
        ring.lag.has_read(&self.subscriber, read, ring.head());
    }

    /// A gap, counted.
    fn gap(&self, missed: u64) -> EventItem {
        if self.ring.counted {
            metrics::missed(&self.subscriber.name(), missed);
        }
        EventItem::Gap { missed }
    }

    fn go_on_from(&mut self, next: u64) {
        self.batch.clear();
        self.batch_end = next;
        self.advance(next);
    }

    /// The gap, if what it had not read was taken from it.
    fn cut_off(&mut self) -> Option<EventItem> {
        let cut = self.subscriber.cut();
        let missed = (cut + 1).checked_sub(self.next).filter(|&lost| lost > 0)?;
        self.go_on_from(cut + 1);
        Some(self.gap(missed))
    }
}

/// Which events of a kind a sampled subscriber gets.
#[derive(Default)]
struct Sample {
    kinds: BTreeMap<&'static str, Seen>,
}

#[derive(Default)]
struct Seen {
    /// Since the last that it got.
    left_out: u64,
    /// The gap before the next has been told.
    told: bool,
    any: bool,
}

enum Taken {
    Event,
    /// The event, after a gap of so many.
    After(u64),
    LeftOut,
}

impl Sample {
    fn take(&mut self, kind: &'static str, every: u64) -> Taken {
        let seen = self.kinds.entry(kind).or_default();
        if seen.any && !seen.told && seen.left_out + 1 < every {
            seen.left_out += 1;
            return Taken::LeftOut;
        }
        match std::mem::take(&mut seen.left_out) {
            0 => {
                (seen.any, seen.told) = (true, false);
                Taken::Event
            }
            left_out => {
                seen.told = true;
                Taken::After(left_out)
            }
        }
    }

    /// There is no sample any more: how many were left out that no gap told of.
    fn over(&mut self) -> Option<u64> {
        let kinds = std::mem::take(&mut self.kinds);
        let left_out = kinds.values().map(|seen| seen.left_out).sum();
        (left_out > 0).then_some(left_out)
    }
}

impl Stream for EventStream {
    type Item = EventItem;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EventItem>> {
        self.get_mut().poll(cx)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
