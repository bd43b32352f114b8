use std::{panic::Location, time::Duration};

use serde::Serialize;
use tokio::{task::AbortHandle, time::Instant};
use tokio_util::task::TaskTracker;

/// A helper task of a run that is still alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Helper {
    /// Where it was started: `src/feed.rs:41`.
    pub name: String,
    /// It occupies a thread of the blocking pool and cannot be aborted.
    pub blocking: bool,
    /// How long it has been alive.
    #[serde(rename = "age_ms", with = "crate::serde_millis")]
    pub age: Duration,
}

/// The helper tasks of one run.
#[derive(Default)]
pub(crate) struct Helpers {
    tracker: TaskTracker,
    entries: Vec<Entry>,
}

struct Entry {
    place: &'static Location<'static>,
    blocking: bool,
    since: Instant,
    task: AbortHandle,
}

impl Helpers {
    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    pub(super) fn enter(
        &mut self,
        place: &'static Location<'static>,
        blocking: bool,
        task: AbortHandle,
    ) {
        // A run that spawns for each of its requests must not collect what has long ended.
        if self.entries.len() == self.entries.capacity() {
            self.entries.retain(|entry| !entry.task.is_finished());
        }
        self.entries.push(Entry {
            place,
            blocking,
            since: Instant::now(),
            task,
        });
    }

    /// Aborts what can be aborted and answers what its end is awaited by.
    pub(super) fn end(&self) -> TaskTracker {
        for entry in &self.entries {
            entry.task.abort();
        }
        self.tracker.close();
        self.tracker.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    pub(super) fn any_alive(&self) -> bool {
        self.entries.iter().any(|entry| !entry.task.is_finished())
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = Helper> + '_ {
        self.entries
            .iter()
            .filter(|entry| !entry.task.is_finished())
            .map(|entry| Helper {
                name: format!("{}:{}", entry.place.file(), entry.place.line()),
                blocking: entry.blocking,
                age: entry.since.elapsed(),
            })
    }
}
