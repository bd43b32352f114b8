use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_core::Stream;

use crate::{EventItem, SupervisorEvent, SupervisorHandle};

/// A tree's events from the first on, collected whenever somebody looks.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) events: Vec<SupervisorEvent>,
    /// Those that the journal no longer held when somebody looked.
    pub(super) missed: u64,
}

impl Recorder {
    /// Reads what has happened since somebody looked last.
    pub(super) fn catch_up(&mut self, handle: &SupervisorHandle) {
        let next = self.events.last().map_or(1, |event| event.sequence + 1);
        // A subscription of each time: what lies before it is history, which no reader is too slow for.
        let mut events = handle.subscribe_events_from(next);
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(item)) = Pin::new(&mut events).poll_next(&mut cx) {
            match item {
                EventItem::Event(event) => self.events.push(event),
                EventItem::Gap { missed } => self.missed += missed,
            }
        }
    }
}
