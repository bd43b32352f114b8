use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Helper;
use crate::{
    StopCause, TaskExit,
    policy::{Backoff, FuseLimit, FuseReading, RestartDecision, RestartType},
};

/// When a run counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessPolicy {
    /// As soon as it has been polled once and goes on.
    #[default]
    Immediate,
    /// When it says so with [`TaskContext::mark_ready`](crate::TaskContext::mark_ready).
    Explicit,
}

/// What holds a child down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Somebody paused it.
    Paused,
    /// It is in quarantine.
    Quarantined,
}

/// What a child is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildStatus {
    /// No run yet, or the next waits for its group, a permit or a start rate.
    Waiting,
    /// The next run waits for a sibling that somebody, or the quarantine, holds down.
    WaitingFor {
        /// That sibling's path.
        sibling: Arc<str>,
    },
    /// A run has begun and is not ready.
    Starting,
    /// A run is ready.
    Running,
    /// The next run waits for its time.
    BackingOff {
        /// That time.
        until: Instant,
    },
    /// Stopped until resumed.
    Paused,
    /// Held down until released.
    Quarantined {
        /// Why.
        reason: Arc<str>,
        /// Released by itself then.
        until: Option<Instant>,
    },
    /// A run is asked to stop, or what it started is being ended.
    Stopping {
        /// Why; `None` when the run ended by itself, left helpers behind, and nobody stops it besides.
        cause: Option<StopCause>,
    },
    /// Done.
    Finished,
    /// Down after a failure; nothing starts it again by itself.
    Failed,
    /// Down because its last run had to be dropped.
    Aborted,
    /// A run that cannot be ended goes on.
    Lingering,
}

impl ChildStatus {
    /// All names.
    pub const NAMES: [&'static str; 11] = [
        "waiting",
        "starting",
        "running",
        "backing_off",
        "paused",
        "quarantined",
        "stopping",
        "finished",
        "failed",
        "aborted",
        "lingering",
    ];

    /// The name in events, metrics and reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting | Self::WaitingFor { .. } => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff { .. } => "backing_off",
            Self::Paused => "paused",
            Self::Quarantined { .. } => "quarantined",
            Self::Stopping { .. } => "stopping",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Lingering => "lingering",
        }
    }
}

impl ChildStatus {
    /// As `Display`, without making what there is already.
    pub fn in_words(&self) -> Cow<'static, str> {
        match self {
            Self::BackingOff { .. }
            | Self::WaitingFor { .. }
            | Self::Quarantined { .. }
            | Self::Stopping { cause: Some(_) } => self.to_string().into(),
            plain => plain.as_str().into(),
        }
    }
}

impl fmt::Display for ChildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackingOff { until } => {
                let left = until.saturating_duration_since(Instant::now());
                write!(f, "backing off for another {left:.1?}")
            }
            Self::WaitingFor { sibling } => write!(f, "waiting for {sibling}, which is held"),
            Self::Quarantined { reason, .. } => write!(f, "quarantined: {reason}"),
            Self::Stopping { cause: Some(cause) } => write!(f, "stopping for {cause}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// How a child's last run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LastExit {
    /// Which run.
    pub generation: u64,
    /// How.
    pub exit: TaskExit,
    /// The failure in words.
    pub message: Option<Arc<str>>,
    /// What followed.
    pub decision: Option<RestartDecision>,
    /// When.
    pub at: Instant,
}

/// How often and how long a child's runs were polled, over its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PollStatistics {
    /// How often.
    pub polls: u64,
    /// Polls that took longer than the threshold.
    pub slow: u64,
    /// How long in all.
    #[serde(rename = "busy_us", with = "crate::serde_micros")]
    pub busy: Duration,
    /// The longest.
    #[serde(rename = "longest_us", with = "crate::serde_micros")]
    pub longest: Duration,
}

/// What the layers around a child are set to, as they told at their first call.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct ChildSettings {
    /// When it runs again; absent without a `RestartLayer`.
    pub restart: Option<RestartType>,
    /// Its fuse.
    pub fuse: Option<FuseLimit>,
    /// Its backoff.
    pub backoff: Option<Backoff>,
    /// Whether a blown fuse holds it, and for how long.
    pub quarantine: Option<Option<Duration>>,
    /// How long a stopping run has.
    pub grace: Option<Duration>,
    /// How long it may show no sign of life.
    pub stale_after: Option<Duration>,
    /// How often it is to show one.
    pub heartbeat_interval: Option<Duration>,
    /// How long a run may take to become ready.
    pub start_timeout: Option<Duration>,
}

/// Everything about a child at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildSnapshot {
    /// What it is doing.
    pub status: ChildStatus,
    /// Its run is ready.
    pub ready: bool,
    /// Its current or last run; 0 before the first.
    pub generation: u64,
    /// How many starts in a row have not become healthy.
    pub attempt: u32,
    /// When its status last changed.
    pub since: Instant,
    /// How its last run ended.
    pub last_exit: Option<LastExit>,
    /// How often it ended in each way, in the order of [`TaskExit::ALL`].
    pub exits: [u64; 7],
    /// What its fuse read last.
    pub fuse: Option<FuseReading>,
    /// How long ago its run last showed a sign of life.
    pub heartbeat_age: Option<Duration>,
    /// How its runs were polled.
    pub polls: PollStatistics,
    /// How long the poll now running has lasted, once that was reported as too long.
    pub stuck: Option<Duration>,
    /// What its layers are set to.
    pub settings: ChildSettings,
    /// Helper tasks alive.
    pub helpers: Vec<Helper>,
    /// The sequence of the event that last changed it.
    pub sequence: u64,
}

impl ChildSnapshot {
    /// How often it ran again.
    pub fn restarts(&self) -> u64 {
        self.generation.saturating_sub(1)
    }
}
