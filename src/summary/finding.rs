use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use supervisor_layers::{TaskExit, serde_millis};

use crate::spec::{EscalationPolicy, SupervisorPath};

/// Something that somebody on call wants to know. Times are since the start of the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// After the shutdown something was still alive.
    LeftAlive {
        /// What.
        paths: Vec<SupervisorPath>,
    },
    /// A supervisor gave up.
    GaveUp {
        /// Which.
        path: SupervisorPath,
        /// When.
        #[serde(rename = "at_ms", with = "serde_millis")]
        at: Duration,
        /// What became of it.
        policy: EscalationPolicy,
        /// Why.
        reason: Arc<str>,
        /// The exit it followed.
        cause: Option<Cause>,
    },
    /// A child is held in quarantine.
    Quarantined {
        /// Which.
        path: SupervisorPath,
        /// Since when.
        #[serde(rename = "at_ms", with = "serde_millis")]
        at: Duration,
        /// Why.
        reason: Arc<str>,
        /// How many of its runs failed in this life of the process.
        failures: u64,
        /// How the last of them did.
        cause: Option<Cause>,
        /// What happens next.
        next: Next,
    },
    /// A child stays down after a failure.
    Down {
        /// Which.
        path: SupervisorPath,
        /// Since when.
        #[serde(rename = "at_ms", with = "serde_millis")]
        at: Duration,
        /// The failure.
        cause: Option<Cause>,
    },
    /// A run blocks its worker thread.
    Stuck {
        /// Whose.
        path: SupervisorPath,
        /// Which.
        generation: u64,
        /// When it was noticed.
        #[serde(rename = "at_ms", with = "serde_millis")]
        at: Duration,
        /// How long it had then, or has now where that is known.
        #[serde(rename = "lasts_ms", with = "serde_millis")]
        lasts: Duration,
    },
    /// Runs had to be dropped in the shutdown.
    AbortedInShutdown {
        /// Whose.
        paths: Vec<SupervisorPath>,
    },
    /// Siblings restarted together, again and again.
    GroupRestarts {
        /// Under which supervisor.
        path: SupervisorPath,
        /// How often.
        times: u64,
        /// From the first to the last.
        #[serde(rename = "within_ms", with = "serde_millis")]
        within: Duration,
        /// After whose failures.
        after: BTreeMap<SupervisorPath, u64>,
    },
    /// A child fails, and is restarted.
    Failing {
        /// Which.
        path: SupervisorPath,
        /// How often it did.
        failures: u64,
        /// How the last run did.
        cause: Option<Cause>,
        /// Since when.
        #[serde(rename = "at_ms", with = "serde_millis")]
        at: Duration,
        /// What happens next.
        next: Next,
    },
    /// Somebody paused a child.
    Paused {
        /// Which.
        path: SupervisorPath,
        /// Since when.
        #[serde(rename = "at_ms", with = "serde_millis")]
        at: Duration,
        /// Who, and why.
        by: Option<Arc<str>>,
    },
    /// Events or commands could not be kept.
    Unrecorded {
        /// In which file.
        file: Arc<str>,
        /// Why.
        error: Arc<str>,
        /// It worked again later.
        over: bool,
    },
}

/// An exit that something followed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Whose.
    pub path: SupervisorPath,
    /// Of which run.
    pub generation: u64,
    /// How.
    pub exit: TaskExit,
    /// In words.
    pub message: Option<Arc<str>>,
}

/// What a child will do by itself, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Next {
    /// It runs.
    Runs,
    /// It runs again after this.
    RunsIn {
        /// From the end of the record, or from now where that is known.
        #[serde(rename = "remaining_ms", with = "serde_millis")]
        remaining: Duration,
    },
    /// Nothing, until somebody resumes or restarts it.
    Nothing,
    /// Its process, or its tree, is gone.
    Gone,
}

impl Finding {
    /// What matters most comes first.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::LeftAlive { .. } => 0,
            Self::GaveUp { .. } => 1,
            Self::Quarantined { .. } => 2,
            Self::Down { .. } => 3,
            Self::Stuck { .. } => 4,
            Self::AbortedInShutdown { .. } => 5,
            Self::GroupRestarts { .. } => 6,
            Self::Failing { .. } => 7,
            Self::Paused { .. } => 8,
            Self::Unrecorded { .. } => 9,
        }
    }
}
