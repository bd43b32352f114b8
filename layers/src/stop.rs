use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a run is being stopped. Ordered: a pending cause can only be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum StopCause {
    /// The child's own failure: it showed no sign of life, or did not start in time.
    Unhealthy = 1,
    /// Somebody asked for a restart.
    Restart,
    /// A sibling failed and the group restarts together.
    Sibling,
    /// Somebody paused the child.
    Pause,
    /// The child was put in quarantine.
    Quarantine,
    /// The child is being removed.
    Removal,
    /// The supervisor, or the whole tree, is shutting down.
    Shutdown,
}

impl StopCause {
    /// All causes, weakest first.
    pub const ALL: [Self; 7] = [
        Self::Unhealthy,
        Self::Restart,
        Self::Sibling,
        Self::Pause,
        Self::Quarantine,
        Self::Removal,
        Self::Shutdown,
    ];

    /// Somebody else stops the run. Such an exit counts for nothing: no fuse is charged, no backoff
    /// grows, nothing restarts in place.
    pub fn is_foreign(self) -> bool {
        self != Self::Unhealthy
    }

    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|&cause| cause as u64 == bits)
    }
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unhealthy => "unhealthy",
            Self::Restart => "restart",
            Self::Sibling => "sibling",
            Self::Pause => "pause",
            Self::Quarantine => "quarantine",
            Self::Removal => "removal",
            Self::Shutdown => "shutdown",
        })
    }
}
