use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervisor_layers::{LifecycleEvent, TaskExit};

use super::{EventKind, LagLevel, TreeEvent};

/// How much an event matters to somebody who is on call.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    #[default]
    Info,
    /// Something failed, and is being taken care of.
    Warning,
    /// Something stays down or is lost until somebody looks at it.
    Error,
}

impl EventKind {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Lifecycle(event) => of_lifecycle(event),
            Self::Tree(event) => of_tree(event),
        }
    }
}

fn of_lifecycle(event: &LifecycleEvent) -> Severity {
    match event {
        LifecycleEvent::Exited { exit, .. }
            if !matches!(exit, TaskExit::Completed | TaskExit::Cancelled) =>
        {
            Severity::Warning
        }
        LifecycleEvent::FuseCharged { .. }
        | LifecycleEvent::Unhealthy { .. }
        | LifecycleEvent::BackingOff { .. } => Severity::Warning,
        LifecycleEvent::FuseBlown { .. }
        | LifecycleEvent::Quarantined { .. }
        | LifecycleEvent::Stuck { .. } => Severity::Error,
        _ => Severity::Info,
    }
}

fn of_tree(event: &TreeEvent) -> Severity {
    match event {
        TreeEvent::GroupRestartBegun { .. } | TreeEvent::CommandRefused { .. } => Severity::Warning,
        TreeEvent::SubscriberLagged { level, .. } => match level {
            LagLevel::Warning => Severity::Warning,
            LagLevel::Critical | LagLevel::CutOff | LagLevel::Sampled => Severity::Error,
        },
        TreeEvent::JournalFailed { .. }
        | TreeEvent::AuditFailed { .. }
        | TreeEvent::IntensityExceeded { .. }
        | TreeEvent::Escalated { .. }
        | TreeEvent::ShutdownCompleted { clean: false } => Severity::Error,
        _ => Severity::Info,
    }
}
