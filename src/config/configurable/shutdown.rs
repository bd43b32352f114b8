use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_MS, of_defaults};
use crate::spec::ShutdownOrder;

/// What a child says of its own shutdown; the rest comes from its parent.
pub type ShutdownOverrides = <ShutdownSection as Config>::Layer;

/// How children and the tree stop.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(derive(Debug, Clone, Default, Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ShutdownSection {
    /// How long a stopping run has before it is aborted, in milliseconds.
    #[config(default = 5000, env = "SUPERVISOR_SHUTDOWN_GRACEFUL_TIMEOUT_MS")]
    #[schemars(range(min = 0, max = MAX_MS))]
    pub graceful_timeout_ms: u64,

    /// How long an aborted run is waited for before it is reported as lingering, in milliseconds.
    #[config(default = 1000, env = "SUPERVISOR_SHUTDOWN_ABORT_WAIT_MS")]
    #[schemars(range(min = 0, max = MAX_MS))]
    pub abort_wait_ms: u64,

    /// In which order children stop: reverse (the last started first, each one's end awaited) or parallel.
    #[config(default = "reverse", env = "SUPERVISOR_SHUTDOWN_ORDER")]
    pub order: ShutdownOrder,

    /// How long the whole tree has, in milliseconds; then the rest is aborted together. Counts for the
    /// whole tree.
    #[config(default = 30000, env = "SUPERVISOR_SHUTDOWN_TOTAL_TIMEOUT_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub total_timeout_ms: u64,
}

impl Default for ShutdownSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl ShutdownSection {
    /// This section where `over` says nothing else.
    #[must_use]
    pub fn with(&self, over: &ShutdownOverrides) -> Self {
        Self {
            graceful_timeout_ms: over.graceful_timeout_ms.unwrap_or(self.graceful_timeout_ms),
            abort_wait_ms: over.abort_wait_ms.unwrap_or(self.abort_wait_ms),
            order: over.order.unwrap_or(self.order),
            total_timeout_ms: over.total_timeout_ms.unwrap_or(self.total_timeout_ms),
        }
    }
}
