use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervisor_layers::{LifecycleEvent, serde_millis};

use super::LagLevel;
use crate::{
    shutdown::{ChildShutdownStatus, ShutdownStage},
    spec::{EscalationPolicy, SupervisionStrategy, SupervisorPath},
};

/// One thing that happened in a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupervisorEvent {
    /// The version of this shape.
    pub schema: u32,
    /// The life of the process; a new one tells a restart of the program from a gap.
    pub epoch: Arc<str>,
    /// Its number in the tree's one sequence, from 1.
    pub sequence: u64,
    /// When, by the wall clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: SystemTime,
    /// When, since the tree was started.
    #[serde(rename = "uptime_ms", with = "serde_millis")]
    #[schemars(with = "u64")]
    pub uptime: Duration,
    /// Whose event it is: a child, or a supervisor.
    pub path: SupervisorPath,
    /// Which addition of that name.
    pub instance: u64,
    /// Which run; 0 where none is meant.
    pub generation: u64,
    /// How many starts in a row had not become healthy.
    pub attempt: u32,
    /// The sequence of the command or the exit that this is a consequence of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<u64>,
    /// What happened.
    pub kind: EventKind,
}

impl SupervisorEvent {
    /// The current version of the shape.
    pub const SCHEMA: u32 = 1;

    /// The JSON Schema of the shape, for whoever reads events in another language.
    pub fn json_schema() -> String {
        let schema = schemars::schema_for!(Self);
        let mut text = format!("{:#}", schema.as_value());
        text.push('\n');
        text
    }
}

impl fmt::Display for SupervisorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "#{} +{:.3}s {}",
            self.sequence,
            self.uptime.as_secs_f64(),
            self.path
        )?;
        if self.generation > 0 {
            write!(f, " run {}", self.generation)?;
        }
        match serde_json::to_string(&self.kind) {
            Ok(kind) => write!(f, " {kind}"),
            Err(_) => Err(fmt::Error),
        }
    }
}

/// What happened: to a child, or in the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EventKind {
    /// A step in a child's life, as its layers tell it.
    Lifecycle(LifecycleEvent),
    /// What supervisors, commands and the shutdown do.
    Tree(TreeEvent),
}

impl From<LifecycleEvent> for EventKind {
    fn from(event: LifecycleEvent) -> Self {
        Self::Lifecycle(event)
    }
}

impl From<TreeEvent> for EventKind {
    fn from(event: TreeEvent) -> Self {
        Self::Tree(event)
    }
}

/// What supervisors, commands and the shutdown do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TreeEvent {
    /// A child is there.
    ChildAdded,
    /// A child is no longer there.
    Removed,
    /// Siblings restart together.
    GroupRestartBegun {
        /// By which strategy.
        strategy: SupervisionStrategy,
        /// Whose failure it follows.
        failed: SupervisorPath,
        /// How many children are in the group.
        members: usize,
        /// How long before the first starts again.
        #[serde(rename = "delay_ms", with = "serde_millis")]
        #[schemars(with = "u64")]
        delay: Duration,
    },
    /// The group has started again.
    GroupRestartEnded {
        /// How many of it run.
        started: usize,
    },
    /// A restart too many over all children of a supervisor.
    IntensityExceeded {
        /// How many pass.
        restarts: u32,
        /// Within this.
        #[serde(rename = "period_ms", with = "serde_millis")]
        #[schemars(with = "u64")]
        period: Duration,
    },
    /// A supervisor gives up.
    Escalated {
        /// What becomes of it.
        policy: EscalationPolicy,
        /// Why.
        reason: Arc<str>,
    },
    /// A command came in and will be carried out.
    CommandAccepted {
        /// Which.
        command: Arc<str>,
        /// Who.
        requested_by: Arc<str>,
        /// What for.
        reason: Arc<str>,
    },
    /// A command came in and was refused; nothing changed.
    CommandRefused {
        /// Which.
        command: Arc<str>,
        /// Who.
        requested_by: Arc<str>,
        /// What for.
        reason: Arc<str>,
        /// Why it was refused.
        error: Arc<str>,
    },
    /// An accepted command has been carried out, or could not be.
    CommandCompleted {
        /// Which.
        command: Arc<str>,
        /// What came of it.
        outcome: Arc<str>,
    },
    /// The shutdown has come so far.
    ShutdownStageEntered {
        /// How far.
        stage: ShutdownStage,
    },
    /// A subscriber is behind.
    SubscriberLagged {
        /// Its name.
        subscriber: Arc<str>,
        /// How it is seen.
        level: LagLevel,
        /// By how many events.
        behind: u64,
        /// By how many it may be before the oldest are no longer due to it.
        capacity: u64,
    },
    /// The journal file could not be written; it will be tried again. Told once until it works again.
    JournalFailed {
        /// The file.
        path: Arc<str>,
        /// Why.
        error: Arc<str>,
    },
    /// The journal file is written again.
    JournalRecovered {
        /// The file.
        path: Arc<str>,
    },
    /// The audit file could not be written; what becomes of commands, its failure strategy says. Told once
    /// until it works again.
    AuditFailed {
        /// The file.
        path: Arc<str>,
        /// Why.
        error: Arc<str>,
    },
    /// The audit file is written again.
    AuditRecovered {
        /// The file.
        path: Arc<str>,
        /// How many records of refused commands were not kept meanwhile.
        lost: u64,
    },
    /// How a child took the shutdown.
    ChildShutdown {
        /// How.
        status: ChildShutdownStatus,
    },
    /// The shutdown is over.
    ShutdownCompleted {
        /// Nothing is left alive.
        clean: bool,
    },
}

impl EventKind {
    /// What it is called in JSON, in filters and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lifecycle(event) => event.name(),
            Self::Tree(event) => event.name(),
        }
    }
}

impl TreeEvent {
    /// What it is called in JSON, in filters and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChildAdded => "child_added",
            Self::Removed => "removed",
            Self::GroupRestartBegun { .. } => "group_restart_begun",
            Self::GroupRestartEnded { .. } => "group_restart_ended",
            Self::IntensityExceeded { .. } => "intensity_exceeded",
            Self::Escalated { .. } => "escalated",
            Self::CommandAccepted { .. } => "command_accepted",
            Self::CommandRefused { .. } => "command_refused",
            Self::CommandCompleted { .. } => "command_completed",
            Self::ShutdownStageEntered { .. } => "shutdown_stage_entered",
            Self::SubscriberLagged { .. } => "subscriber_lagged",
            Self::JournalFailed { .. } => "journal_failed",
            Self::JournalRecovered { .. } => "journal_recovered",
            Self::AuditFailed { .. } => "audit_failed",
            Self::AuditRecovered { .. } => "audit_recovered",
            Self::ChildShutdown { .. } => "child_shutdown",
            Self::ShutdownCompleted { .. } => "shutdown_completed",
        }
    }
}

pub(crate) mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        at: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_micros(*at))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        humantime::parse_rfc3339(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
