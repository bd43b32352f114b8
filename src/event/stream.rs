use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::futures::OwnedNotified;

use super::{
    SupervisorEvent,
    ring::{Read, Ring},
};

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
/// A subscriber blocks nobody. One that falls behind by more than `event_channel_capacity` events, or than
/// the journal holds, finds an [`EventItem::Gap`] with the number it missed; what had happened before it was
/// taken is there as far back as the journal holds it. Ends when the tree has ended and all was read.
///
/// # Cancel safety
///
/// Dropping a future of [`next`](Self::next) loses nothing.
pub struct EventStream {
    journal: Arc<Ring>,
    next: u64,
    /// The journal's head when it was taken: what lies before is history, and not lag.
    since: u64,
    batch: VecDeque<SupervisorEvent>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl EventStream {
    pub(crate) fn new(journal: Arc<Ring>, next: u64) -> Self {
        Self {
            since: journal.head(),
            journal,
            next,
            batch: VecDeque::new(),
            waiting: None,
        }
    }

    /// The next event or gap; `None` when the tree has ended and all was read.
    pub async fn next(&mut self) -> Option<EventItem> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<EventItem>> {
        loop {
            if let Some(event) = self.batch.pop_front() {
                self.next = event.sequence + 1;
                return Poll::Ready(Some(EventItem::Event(event)));
            }
            // Registered before reading, so that nothing appended in between is missed.
            let waiting = self.waiting.get_or_insert_with(|| {
                let mut notified = Box::pin(self.journal.grown().notified_owned());
                notified.as_mut().enable();
                notified
            });
            match self.journal.read(self.next, self.since) {
                Read::Events(batch) => {
                    self.batch = batch;
                    continue;
                }
                Read::Gap { missed, next } => {
                    self.next = next;
                    return Poll::Ready(Some(EventItem::Gap { missed }));
                }
                Read::Closed => return Poll::Ready(None),
                Read::Empty => {}
            }
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
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
