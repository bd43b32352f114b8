use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervisor_layers::{context::Helper, serde_millis};

use crate::spec::SupervisorPath;

/// How far a shutdown has come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownStage {
    /// No run begins any more, and runs are asked to stop.
    RequestStop,
    /// Runs have their grace.
    GracefulDrain,
    /// What has not ended is aborted.
    AbortStragglers,
    /// Every child, helper and socket is accounted for.
    Reconcile,
}

/// How a child took the shutdown.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ChildShutdownStatus {
    /// No run of it was alive when it was asked.
    AlreadyExited,
    /// Its run ended by itself within its grace.
    Graceful,
    /// Its run was dropped.
    Aborted,
    /// Its run could not be ended and was alive when the report was made.
    AbortFailed,
    /// Its run could not be ended in time, but had ended when the report was made.
    LateReport,
}

/// One child's shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildShutdown {
    /// The child.
    pub path: SupervisorPath,
    /// Its last run; 0 if it had none.
    pub generation: u64,
    /// How it took it.
    pub status: ChildShutdownStatus,
    /// From being asked to its end.
    #[serde(rename = "took_ms", with = "serde_millis")]
    pub took: Duration,
    /// The event that tells it.
    pub sequence: u64,
}

/// A run or helper that could not be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Straggler {
    /// Whose it is.
    pub path: SupervisorPath,
    /// Of which run.
    pub generation: u64,
    /// How long it has been alive since its child was asked to stop.
    #[serde(rename = "since_ms", with = "serde_millis")]
    pub since: Duration,
    /// Its helper tasks that are alive, by name; with none the run itself is.
    pub helpers: Vec<Helper>,
}

/// What became of the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketStatus {
    /// Removed.
    Cleaned,
    /// There was none of ours.
    NotOwned,
    /// It could not be removed.
    Failed,
}

/// What was left when everything had been asked, waited for and aborted: counted, not hoped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShutdownReconcileReport {
    /// Children looked at.
    pub children: usize,
    /// Tasks of children still alive.
    pub tasks_alive: usize,
    /// Helper tasks and blocking jobs still alive.
    pub helpers_alive: usize,
    /// What is alive, by name.
    pub stragglers: Vec<Straggler>,
    /// The control socket.
    pub socket: SocketStatus,
}

/// What the four stages did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShutdownPipelineReport {
    /// Who asked for it and what for; absent when a handle was dropped or a token cancelled.
    pub requested: Option<crate::meta::CommandMeta>,
    /// The children, in the order in which they ended.
    pub children: Arc<Vec<ChildShutdown>>,
    /// What was left.
    pub reconcile: ShutdownReconcileReport,
    /// How long it took.
    #[serde(rename = "took_ms", with = "serde_millis")]
    pub took: Duration,
    /// The tree's budget was spent before all had ended.
    pub timed_out: bool,
}

impl ShutdownPipelineReport {
    /// Nothing is left alive.
    pub fn is_clean(&self) -> bool {
        self.reconcile.tasks_alive == 0
            && self.reconcile.helpers_alive == 0
            && self.reconcile.socket != SocketStatus::Failed
    }

    /// How many children took it in each way.
    pub fn counts(&self) -> BTreeMap<ChildShutdownStatus, usize> {
        let mut counts = BTreeMap::new();
        for alike in self.children.chunk_by(|a, b| a.status == b.status) {
            *counts.entry(alike[0].status).or_default() += alike.len();
        }
        counts
    }
}

/// What a shutdown came to; the same for everybody who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShutdownResult {
    /// Nothing is left alive.
    pub clean: bool,
    /// In detail.
    pub report: ShutdownPipelineReport,
}

impl fmt::Display for ShutdownResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.clean { "clean" } else { "NOT CLEAN" };
        write!(f, "shutdown {word} in {:.1?}:", self.report.took)?;
        for (status, count) in self.report.counts() {
            write!(f, " {count} {status:?}")?;
        }
        for straggler in &self.report.reconcile.stragglers {
            write!(
                f,
                "\n  still alive: {} run {}",
                straggler.path, straggler.generation
            )?;
            for helper in &straggler.helpers {
                write!(
                    f,
                    ", {} started at {}",
                    if helper.blocking { "thread" } else { "task" },
                    helper.name
                )?;
            }
        }
        Ok(())
    }
}
