use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_COUNT, of_defaults};

/// What happens to observers that cannot keep up. Without effect yet: a slow subscriber finds a gap.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct BackpressureSection {
    /// What is done when an observer falls behind: alert_and_block, drop_oldest or sample_and_audit.
    #[config(default = "alert_and_block", env = "SUPERVISOR_BACKPRESSURE_STRATEGY")]
    pub strategy: BackpressureStrategy,

    /// How full a queue is when it is warned of, in percent.
    #[config(default = 80, env = "SUPERVISOR_BACKPRESSURE_WARN_THRESHOLD_PCT")]
    #[schemars(range(min = 0, max = 100))]
    pub warn_threshold_pct: u8,

    /// How full a queue is when the strategy acts, in percent; more than the warning's.
    #[config(default = 95, env = "SUPERVISOR_BACKPRESSURE_CRITICAL_THRESHOLD_PCT")]
    #[schemars(range(min = 0, max = 100))]
    pub critical_threshold_pct: u8,

    /// Over how many seconds the fill of a queue is judged.
    #[config(default = 30, env = "SUPERVISOR_BACKPRESSURE_WINDOW_SECS")]
    #[schemars(range(min = 1, max = 86400))]
    pub window_secs: u64,

    /// How many audit records may wait to be written.
    #[config(default = 1024, env = "SUPERVISOR_BACKPRESSURE_AUDIT_CHANNEL_CAPACITY")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub audit_channel_capacity: usize,
}

/// What is done when an observer falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackpressureStrategy {
    /// An alert is raised and whoever writes waits.
    AlertAndBlock,
    /// The oldest record makes room.
    DropOldest,
    /// Some records are kept, and how many were not is audited.
    SampleAndAudit,
}

impl Default for BackpressureSection {
    fn default() -> Self {
        of_defaults()
    }
}
