use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use supervisor_layers::{ChildStatus, serde_millis};

use super::{Finding, Next};
use crate::{NodeState, TreeState, event::rfc3339};

/// One life of a process, as its events tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifeSummary {
    /// Which.
    pub epoch: Arc<str>,
    /// When the first event was that is known, by the wall clock.
    #[serde(with = "rfc3339")]
    pub from: SystemTime,
    /// When the last one was.
    #[serde(with = "rfc3339")]
    pub to: SystemTime,
    /// How long the tree had been up then.
    #[serde(rename = "uptime_ms", with = "serde_millis")]
    pub uptime: Duration,
    /// How many events are known.
    pub events: u64,
    /// How many are not, before the first that is and in gaps after it.
    pub missed: u64,
    /// How it ended.
    pub ending: Ending,
    /// How many runs failed.
    pub failures: u64,
    /// How many runs followed another of the same child.
    pub restarts: u64,
    /// What somebody on call wants to know, what matters most first.
    pub findings: Vec<Finding>,
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ending {
    /// It had not when its state was read.
    Running,
    /// Its events end in the middle: it was killed, or runs and has told no more yet.
    Open,
    /// It was shutting down when its events end.
    ShuttingDown,
    /// It was shut down, or ended by itself.
    ShutDown {
        /// Nothing was left alive.
        clean: bool,
        /// Who asked for it, and why; nobody, where it was a signal, a dropped handle or its own end.
        by: Option<Arc<str>>,
    },
}

impl LifeSummary {
    /// What its state knows better than its events.
    pub(super) fn as_of(&mut self, state: &TreeState) {
        if self.ending == Ending::Open {
            self.ending = Ending::Running;
        }
        self.uptime = state.uptime;
        let node = |path: &_| state.iter().find(|node| node.path == *path);
        self.findings.retain_mut(|finding| match finding {
            Finding::Stuck {
                path,
                generation,
                lasts,
                ..
            } => {
                let stuck = node(path).filter(|node| node.generation == *generation);
                match stuck.and_then(|node| node.stuck) {
                    Some(now) => {
                        *lasts = now;
                        true
                    }
                    None => false,
                }
            }
            Finding::Quarantined { path, next, .. } | Finding::Failing { path, next, .. } => {
                if let Some(node) = node(path) {
                    *next = next_of(node);
                }
                true
            }
            _ => true,
        });
    }
}

fn next_of(node: &NodeState) -> Next {
    match (&node.status, node.remaining) {
        (_, Some(remaining)) => Next::RunsIn { remaining },
        (ChildStatus::Starting | ChildStatus::Running, None) => Next::Runs,
        (ChildStatus::Waiting | ChildStatus::Stopping { .. }, None) => Next::RunsIn {
            remaining: Duration::ZERO,
        },
        _ => Next::Nothing,
    }
}
