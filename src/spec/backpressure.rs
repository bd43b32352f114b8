use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done when an observer falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackpressureStrategy {
    /// A subscriber is alerted of at the warning level and at the critical one; behind the critical one for
    /// the whole window it is cut off. Commands wait while the audit's queue is at its critical level.
    #[default]
    AlertAndBlock,
    /// No alert: a subscriber that is behind by the whole of its channel finds a gap.
    DropOldest,
    /// From the critical level on a subscriber gets one of so many events of a kind until it has caught up,
    /// and the audit says so.
    SampleAndAudit,
}

/// What happens to observers that cannot keep up. They never slow what is supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backpressure {
    pub(crate) strategy: BackpressureStrategy,
    pub(crate) warn_pct: u8,
    pub(crate) critical_pct: u8,
    pub(crate) window: Duration,
    pub(crate) sample_every: u64,
    pub(crate) audit_channel_capacity: usize,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self {
            strategy: BackpressureStrategy::default(),
            warn_pct: 80,
            critical_pct: 95,
            window: Duration::from_secs(30),
            sample_every: 10,
            audit_channel_capacity: 1024,
        }
    }
}

impl Backpressure {
    /// This strategy, with a warning at 80 %, critical at 95 %, over 30 seconds.
    pub fn new(strategy: BackpressureStrategy) -> Self {
        Self {
            strategy,
            ..Self::default()
        }
    }

    /// How full a queue is when it is warned of, and when the strategy acts, in percent. A warning that
    /// would come later comes together with the other.
    #[must_use]
    pub fn thresholds(mut self, warn_pct: u8, critical_pct: u8) -> Self {
        (self.warn_pct, self.critical_pct) = (warn_pct.min(critical_pct), critical_pct);
        self
    }

    /// For how long a subscriber has to be behind its critical level to be cut off.
    #[must_use]
    pub fn window(mut self, time: Duration) -> Self {
        self.window = time;
        self
    }

    /// Which share of the events of a kind a sampled subscriber gets: one of so many.
    #[must_use]
    pub fn sample_every(mut self, events: u64) -> Self {
        self.sample_every = events.max(1);
        self
    }

    /// How many audit records may wait to be written.
    #[must_use]
    pub fn audit_channel_capacity(mut self, records: usize) -> Self {
        self.audit_channel_capacity = records.max(1);
        self
    }

    /// So many percent of a capacity, but at least one.
    pub(crate) fn level(pct: u8, capacity: usize) -> u64 {
        let capacity = u64::try_from(capacity).unwrap_or(u64::MAX);
        (capacity.saturating_mul(u64::from(pct)) / 100).max(1)
    }
}
