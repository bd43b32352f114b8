//! Why a tree is where it is: what its events come to, in the order in which somebody on call wants to know.
//!
//! ```no_run
//! use rust_supervisor::{Journal, summary::RunSummary};
//!
//! # fn main() -> std::io::Result<()> {
//! let summary = RunSummary::of_journal(Journal::open("/var/lib/shop/journal.jsonl")?)?;
//! println!("{summary}");
//! # Ok(())
//! # }
//! ```

mod display;
mod finding;
mod life;
mod witness;

use std::io;

use serde::{Deserialize, Serialize};

use crate::{Journal, JournalItem, SupervisorEvent, TreeState};
pub use finding::{Cause, Finding, Next};
pub use life::{Ending, LifeSummary};
use witness::Witness;

/// What the events of a tree, in one life of its process or in several, come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The lives of the process, the first one first.
    pub lives: Vec<LifeSummary>,
    /// Parts of the journal file that are no whole events, in words.
    pub skipped: Vec<String>,
}

impl RunSummary {
    /// Of events in their order.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a SupervisorEvent>) -> Self {
        let mut reading = Reading::default();
        for event in events {
            reading.event(event);
        }
        reading.summary()
    }

    /// Of a journal file, to its end.
    ///
    /// # Errors
    ///
    /// The file cannot be read on.
    pub fn of_journal(journal: Journal) -> io::Result<Self> {
        let mut reading = Reading::default();
        let mut journal = journal;
        for item in journal.by_ref() {
            match item? {
                JournalItem::Event(event) => reading.event(&event),
                JournalItem::Gap { missed } => reading.missed += missed,
                JournalItem::Skipped(skipped) => reading.skipped.push(skipped.to_string()),
            }
        }
        let unfinished = journal.unfinished();
        reading
            .skipped
            .extend(unfinished.map(|skipped| skipped.to_string()));
        Ok(reading.summary())
    }

    /// The same, of a tree that lives: with what its children do now, and what they will do next.
    #[must_use]
    pub fn with_state(mut self, state: &TreeState) -> Self {
        if let Some(life) = self
            .lives
            .last_mut()
            .filter(|life| life.epoch == state.epoch)
        {
            life.as_of(state);
        }
        self
    }

    /// The last life.
    pub fn last(&self) -> Option<&LifeSummary> {
        self.lives.last()
    }
}

/// Events as they are read.
#[derive(Default)]
struct Reading {
    lives: Vec<LifeSummary>,
    now: Option<Witness>,
    /// Since the last event.
    missed: u64,
    skipped: Vec<String>,
}

impl Reading {
    fn event(&mut self, event: &SupervisorEvent) {
        if self
            .now
            .as_ref()
            .is_none_or(|now| now.epoch() != &event.epoch)
        {
            self.lives.extend(self.now.take().map(Witness::tell));
            self.missed = 0;
        }
        let now = self.now.get_or_insert_with(|| Witness::of(event));
        now.hear(event, std::mem::take(&mut self.missed));
    }

    fn summary(mut self) -> RunSummary {
        self.lives.extend(self.now.take().map(Witness::tell));
        RunSummary {
            lives: self.lives,
            skipped: self.skipped,
        }
    }
}
