use std::fmt;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskExit {
    /// It returned `Ok` by itself.
    Completed,
    /// It returned an error.
    Failed,
    /// It panicked.
    Panicked,
    /// It took longer than a timeout around it allows, or did not start in time.
    TimedOut,
    /// It was stopped because it showed no sign of life.
    Unhealthy,
    /// It returned `Ok` because it was asked to stop.
    Cancelled,
    /// It was asked to stop, did not, and was dropped.
    Aborted,
}

impl TaskExit {
    /// All exits, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Completed,
        Self::Failed,
        Self::Panicked,
        Self::TimedOut,
        Self::Unhealthy,
        Self::Cancelled,
        Self::Aborted,
    ];

    /// The name in events, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Unhealthy => "unhealthy",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
        }
    }
}

impl fmt::Display for TaskExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
