use std::time::Duration;

use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_COUNT, of_defaults};
use crate::spec::{Backpressure, BackpressureStrategy};

/// What happens to observers that cannot keep up. They never slow what is supervised.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct BackpressureSection {
    /// What is done when a subscriber falls behind: alert_and_block (alerts, and it is cut off when it stays
    /// behind), drop_oldest (no alert, a gap at once) or sample_and_audit (a sample of the events).
    #[config(default = "alert_and_block", env = "SUPERVISOR_BACKPRESSURE_STRATEGY")]
    pub strategy: BackpressureStrategy,

    /// How full a queue is when it is warned of, in percent: a subscriber's is as long as
    /// supervisor.event_channel_capacity.
    #[config(default = 80, env = "SUPERVISOR_BACKPRESSURE_WARN_THRESHOLD_PCT")]
    #[schemars(range(min = 0, max = 100))]
    pub warn_threshold_pct: u8,

    /// How full a queue is when the strategy acts, in percent; more than the warning's.
    #[config(default = 95, env = "SUPERVISOR_BACKPRESSURE_CRITICAL_THRESHOLD_PCT")]
    #[schemars(range(min = 0, max = 100))]
    pub critical_threshold_pct: u8,

    /// For how many seconds a subscriber has to be behind the critical level to be cut off.
    #[config(default = 30, env = "SUPERVISOR_BACKPRESSURE_WINDOW_SECS")]
    #[schemars(range(min = 1, max = 86400))]
    pub window_secs: u64,

    /// With sample_and_audit, a subscriber behind the critical level gets one of so many events of a kind.
    #[config(default = 10, env = "SUPERVISOR_BACKPRESSURE_SAMPLE_EVERY")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub sample_every: u64,

    /// How many audit records may wait to be written.
    #[config(default = 1024, env = "SUPERVISOR_BACKPRESSURE_AUDIT_CHANNEL_CAPACITY")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub audit_channel_capacity: usize,
}

impl Default for BackpressureSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl BackpressureSection {
    pub(in crate::config) fn lowered(&self) -> Backpressure {
        Backpressure::new(self.strategy)
            .thresholds(self.warn_threshold_pct, self.critical_threshold_pct)
            .window(Duration::from_secs(self.window_secs))
            .sample_every(self.sample_every)
            .audit_channel_capacity(self.audit_channel_capacity)
    }
}
