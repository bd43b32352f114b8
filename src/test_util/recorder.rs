use crate::{SupervisorEvent, SupervisorHandle};

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
        let (events, missed) = handle.tree().journal.held_from(next);
        self.events.extend(events);
        self.missed += missed;
    }
}
