use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_COUNT, MAX_MS, of_defaults};
use crate::spec::OnFuseBlown;

/// What a child says of its own policy; the rest comes from its parent.
pub type PolicyOverrides = <PolicySection as Config>::Layer;

/// When a child runs again, how often, and how it shows that it is alive.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(derive(Debug, Clone, Default, Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct PolicySection {
    /// How many failures of one child pass within the window; the next one blows its fuse.
    #[config(default = 10, env = "SUPERVISOR_POLICY_CHILD_RESTART_LIMIT")]
    #[schemars(range(min = 0, max = MAX_COUNT))]
    pub child_restart_limit: u32,

    /// How long a failure counts for the fuse, in milliseconds.
    #[config(default = 60000, env = "SUPERVISOR_POLICY_CHILD_RESTART_WINDOW_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub child_restart_window_ms: u64,

    /// How many restarts a supervisor carries out within its window, over all children; with the next it
    /// gives up. OTP's intensity.
    #[config(default = 30, env = "SUPERVISOR_POLICY_SUPERVISOR_FAILURE_LIMIT")]
    #[schemars(range(min = 0, max = MAX_COUNT))]
    pub supervisor_failure_limit: u32,

    /// How long a restart counts for its supervisor, in milliseconds. OTP's period.
    #[config(
        default = 60000,
        env = "SUPERVISOR_POLICY_SUPERVISOR_FAILURE_WINDOW_MS"
    )]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub supervisor_failure_window_ms: u64,

    /// The curve of the wait before the next run: none, constant, linear, exponential or decorrelated.
    #[config(default = "exponential", env = "SUPERVISOR_POLICY_BACKOFF")]
    pub backoff: BackoffCurve,

    /// What an exponential wait is multiplied with at each failure in a row.
    #[config(default = 2.0, env = "SUPERVISOR_POLICY_BACKOFF_FACTOR")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub backoff_factor: f64,

    /// The wait after the first failure, in milliseconds.
    #[config(default = 100, env = "SUPERVISOR_POLICY_INITIAL_BACKOFF_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub initial_backoff_ms: u64,

    /// The longest wait, in milliseconds.
    #[config(default = 5000, env = "SUPERVISOR_POLICY_MAX_BACKOFF_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub max_backoff_ms: u64,

    /// A run that lasted this long was healthy: the next failure counts as the first again. In
    /// milliseconds.
    #[config(default = 60000, env = "SUPERVISOR_POLICY_BACKOFF_RESET_AFTER_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub backoff_reset_after_ms: u64,

    /// How a wait is spread, so that children that failed together do not return together: none, ratio,
    /// full or equal.
    #[config(default = "ratio", env = "SUPERVISOR_POLICY_JITTER")]
    pub jitter: JitterMode,

    /// With jitter: ratio, up to this share of the wait more or less; 0.10 is 10 %.
    #[config(default = 0.10, env = "SUPERVISOR_POLICY_JITTER_RATIO")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter_ratio: f64,

    /// How often a child with heartbeat: true is to show a sign of life, in milliseconds.
    #[config(default = 1000, env = "SUPERVISOR_POLICY_HEARTBEAT_INTERVAL_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub heartbeat_interval_ms: u64,

    /// For how long a child with heartbeat: true may show none before its run is ended, in milliseconds.
    #[config(default = 3000, env = "SUPERVISOR_POLICY_STALE_AFTER_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub stale_after_ms: u64,

    /// How long a run may take to become ready, in milliseconds.
    #[config(default = 30000, env = "SUPERVISOR_POLICY_START_TIMEOUT_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub start_timeout_ms: u64,

    /// What becomes of a child whose fuse blew: quarantine (held until released), escalate (its
    /// supervisor gives up) or stop (it stays down).
    #[config(default = "quarantine", env = "SUPERVISOR_POLICY_ON_FUSE_BLOWN")]
    pub on_fuse_blown: OnFuseBlown,

    /// When a quarantined child is released by itself, in milliseconds; never unless given.
    #[config(env = "SUPERVISOR_POLICY_QUARANTINE_RELEASE_AFTER_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine_release_after_ms: Option<u64>,
}

/// The curve of the wait before the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffCurve {
    /// No wait.
    None,
    /// Always the initial wait.
    Constant,
    /// The initial wait, twice it, three times it.
    Linear,
    /// Multiplied by the factor at each failure in a row.
    Exponential,
    /// Anything between the initial wait and three times the previous one.
    Decorrelated,
}

/// How a wait is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JitterMode {
    /// The wait as computed.
    None,
    /// Up to a share of it more or less.
    Ratio,
    /// Anything from zero to the wait.
    Full,
    /// Half the wait, and anything up to the other half.
    Equal,
}

impl Default for PolicySection {
    fn default() -> Self {
        of_defaults()
    }
}

impl PolicySection {
    /// This section where `over` says nothing else.
    #[must_use]
    pub fn with(&self, over: &PolicyOverrides) -> Self {
        Self {
            child_restart_limit: over.child_restart_limit.unwrap_or(self.child_restart_limit),
            child_restart_window_ms: over
                .child_restart_window_ms
                .unwrap_or(self.child_restart_window_ms),
            supervisor_failure_limit: over
                .supervisor_failure_limit
                .unwrap_or(self.supervisor_failure_limit),
            supervisor_failure_window_ms: over
                .supervisor_failure_window_ms
                .unwrap_or(self.supervisor_failure_window_ms),
            backoff: over.backoff.unwrap_or(self.backoff),
            backoff_factor: over.backoff_factor.unwrap_or(self.backoff_factor),
            initial_backoff_ms: over.initial_backoff_ms.unwrap_or(self.initial_backoff_ms),
            max_backoff_ms: over.max_backoff_ms.unwrap_or(self.max_backoff_ms),
            backoff_reset_after_ms: over
                .backoff_reset_after_ms
                .unwrap_or(self.backoff_reset_after_ms),
            jitter: over.jitter.unwrap_or(self.jitter),
            jitter_ratio: over.jitter_ratio.unwrap_or(self.jitter_ratio),
            heartbeat_interval_ms: over
                .heartbeat_interval_ms
                .unwrap_or(self.heartbeat_interval_ms),
            stale_after_ms: over.stale_after_ms.unwrap_or(self.stale_after_ms),
            start_timeout_ms: over.start_timeout_ms.unwrap_or(self.start_timeout_ms),
            on_fuse_blown: over.on_fuse_blown.unwrap_or(self.on_fuse_blown),
            quarantine_release_after_ms: over
                .quarantine_release_after_ms
                .or(self.quarantine_release_after_ms),
        }
    }
}
