//! What happened, counted from events: as they come, or from the journal file.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rust_supervisor::{
    BoxError, EventItem, EventKind, EventStream, Journal, JournalItem, LifecycleEvent,
    SupervisorEvent, TaskExit, TreeEvent, layers::metric::child_label,
};
use tokio::task::JoinHandle;

/// How often in each way.
pub type Exits = BTreeMap<TaskExit, u64>;

#[derive(Default, PartialEq)]
pub struct Counted {
    /// By path, and by instance: a replica that was removed may have come again.
    pub exits: BTreeMap<(String, u64), Exits>,
    pub last_failures: BTreeMap<String, String>,
    /// By the label that metrics have for a child.
    pub restarts: BTreeMap<String, u64>,
    /// By command, and whether it was refused.
    pub commands: BTreeMap<(String, bool), u64>,
    pub events: u64,
    pub missed: u64,
}

impl Counted {
    /// What the journal file tells of one life of the process.
    pub fn from_journal(file: &Path, epoch: &str) -> Result<Self, BoxError> {
        let mut counted = Self::default();
        let mut in_life = false;
        for item in Journal::open(file)? {
            match item? {
                JournalItem::Event(event) => {
                    in_life = &*event.epoch == epoch;
                    if in_life {
                        counted.count(event);
                    }
                }
                JournalItem::Gap { missed } if in_life => counted.missed += missed,
                // Torn by the end of another life.
                JournalItem::Gap { .. } | JournalItem::Skipped(_) => {}
            }
        }
        Ok(counted)
    }

    fn count(&mut self, event: SupervisorEvent) {
        self.events += 1;
        let path = event.path.to_string();
        match event.kind {
            EventKind::Lifecycle(LifecycleEvent::Exited { exit, message }) => {
                if let Some(message) = message {
                    self.last_failures.insert(path.clone(), message.to_string());
                }
                let exits = self.exits.entry((path, event.instance)).or_default();
                *exits.entry(exit).or_default() += 1;
            }
            EventKind::Lifecycle(LifecycleEvent::Starting) if event.generation > 1 => {
                let label = child_label(&path.into()).to_string();
                *self.restarts.entry(label).or_default() += 1;
            }
            EventKind::Tree(TreeEvent::CommandCompleted { command, .. }) => {
                *self
                    .commands
                    .entry((command.to_string(), false))
                    .or_default() += 1;
            }
            EventKind::Tree(TreeEvent::CommandRefused { command, .. }) => {
                *self
                    .commands
                    .entry((command.to_string(), true))
                    .or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Counts in the background.
pub struct Counter(JoinHandle<Counted>);

impl Counter {
    pub fn start(events: EventStream) -> Self {
        let mut events = events.named("report");
        Self(tokio::spawn(async move {
            let mut counted = Counted::default();
            while let Some(item) = events.next().await {
                match item {
                    EventItem::Event(event) => counted.count(event),
                    EventItem::Gap { missed } => counted.missed += missed,
                }
            }
            counted
        }))
    }

    /// What was counted, once the tree has ended and with it its events.
    pub async fn finish(self) -> Result<Counted, BoxError> {
        Ok(tokio::time::timeout(Duration::from_secs(5), self.0).await??)
    }
}
