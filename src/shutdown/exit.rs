use std::{fmt, time::Duration};

use serde::Serialize;
use supervisor_layers::serde_millis;

use super::ShutdownResult;

/// How a tree, or its control plane, came to its end; the same for everybody who joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeExitReport {
    /// How.
    pub outcome: ExitOutcome,
    /// How long the tree had been up.
    #[serde(rename = "uptime_ms", with = "serde_millis")]
    pub uptime: Duration,
    /// The shutdown; absent while the tree goes on.
    pub shutdown: Option<ShutdownResult>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitOutcome {
    /// Somebody asked for it.
    ShutDown,
    /// Its significant children were done.
    Finished,
    /// The root supervisor gave up.
    GaveUp {
        /// Why.
        reason: String,
    },
    /// Only the control plane was stopped; supervision goes on.
    ControlPlaneStopped,
}

impl fmt::Display for RuntimeExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            ExitOutcome::ShutDown => f.write_str("shut down")?,
            ExitOutcome::Finished => f.write_str("finished")?,
            ExitOutcome::GaveUp { reason } => write!(f, "gave up: {reason}")?,
            ExitOutcome::ControlPlaneStopped => f.write_str("control plane stopped")?,
        }
        write!(f, " after {:.1?}", self.uptime)?;
        match &self.shutdown {
            Some(shutdown) => write!(f, "; {shutdown}"),
            None => Ok(()),
        }
    }
}
