use std::{sync::Arc, time::SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    commanded::{Change, Commanded, Outcome},
    event::rfc3339,
    meta::CommandMeta,
    spec::SupervisorPath,
};

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// The version of this shape.
    pub schema: u32,
    /// The life of the process, as the events have it.
    pub epoch: Arc<str>,
    /// Its number in that life, from 1. One that is missing was not recorded: its command was refused for
    /// that.
    pub number: u64,
    /// When, by the wall clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: SystemTime,
    /// What is told.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

impl AuditRecord {
    /// The current version of the shape.
    pub const SCHEMA: u32 = 1;
}

/// What the audit tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditEntry {
    /// A command is about to be carried out.
    CommandAccepted {
        /// Which.
        #[serde(flatten)]
        command: AuditedCommand,
    },
    /// A command was refused; nothing changed.
    CommandRefused {
        /// Which.
        #[serde(flatten)]
        command: AuditedCommand,
        /// The record of its acceptance, if it had been accepted before.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        accepted: Option<u64>,
        /// Why.
        error: Arc<str>,
    },
    /// A command was carried out.
    CommandCompleted {
        /// Which.
        #[serde(flatten)]
        command: AuditedCommand,
        /// The record of its acceptance.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        accepted: Option<u64>,
        /// What it changed.
        change: Change,
        /// The same in words, with the child's status after it.
        outcome: Arc<str>,
        /// The events that follow from it carry this.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        correlation_id: Option<u64>,
    },
    /// A command was accepted, and could not be carried out.
    CommandFailed {
        /// Which.
        #[serde(flatten)]
        command: AuditedCommand,
        /// The record of its acceptance.
        accepted: u64,
        /// Why.
        error: Arc<str>,
        /// The events that follow from it carry this.
        correlation_id: u64,
    },
    /// A subscriber got a sample of the events only, and has caught up.
    SubscriberSampled {
        /// Its name.
        subscriber: Arc<str>,
        /// How many events it did not get.
        left_out: u64,
    },
}

/// A command, and who stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditedCommand {
    /// Its name.
    pub command: Arc<str>,
    /// The child or supervisor it is for.
    pub path: SupervisorPath,
    /// Who.
    pub requested_by: Arc<str>,
    /// What for.
    pub reason: Arc<str>,
}

impl AuditedCommand {
    pub(crate) fn of(commanded: &Commanded) -> Self {
        Self::new(&commanded.command.into(), &commanded.path, &commanded.by)
    }

    pub(crate) fn new(command: &Arc<str>, path: &SupervisorPath, by: &CommandMeta) -> Self {
        let (requested_by, reason) = by.shared();
        Self {
            command: command.clone(),
            path: path.clone(),
            requested_by,
            reason,
        }
    }
}

/// An entry until somebody reads it.
#[derive(Clone)]
pub(crate) enum Entry {
    Accepted(Arc<Commanded>),
    /// It was carried out, or could not be.
    Ended {
        commanded: Arc<Commanded>,
        /// The record of its acceptance.
        accepted: u64,
        correlation: u64,
    },
    Other(Box<AuditEntry>),
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        Self::Other(Box::new(entry))
    }
}

impl Entry {
    pub(super) fn told(&self) -> AuditEntry {
        match self {
            Self::Accepted(commanded) => AuditEntry::CommandAccepted {
                command: AuditedCommand::of(commanded),
            },
            Self::Ended {
                commanded,
                accepted,
                correlation,
            } => {
                let command = AuditedCommand::of(commanded);
                let words = commanded.outcome_in_words().into();
                match commanded.outcome() {
                    Some(Outcome::CarriedOut { change, .. }) => AuditEntry::CommandCompleted {
                        command,
                        accepted: Some(*accepted),
                        change: *change,
                        outcome: words,
                        correlation_id: Some(*correlation),
                    },
                    _ => AuditEntry::CommandFailed {
                        command,
                        accepted: *accepted,
                        error: words,
                        correlation_id: *correlation,
                    },
                }
            }
            Self::Other(entry) => AuditEntry::clone(entry),
        }
    }
}
