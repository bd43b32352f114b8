use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use supervisor_layers::context::after;
use tokio::time::Instant;

/// Who asks for a change, and what for. Cannot be built from blank strings, nor deserialised from them.
///
/// ```
/// use rust_supervisor::CommandMeta;
///
/// let by = CommandMeta::new("alice", "rotating credentials").unwrap();
/// assert_eq!(by.requested_by(), "alice");
/// assert!(CommandMeta::new("alice", " ").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Plain")]
pub struct CommandMeta {
    requested_by: Arc<str>,
    reason: Arc<str>,
    #[serde(skip_serializing)]
    patience: Duration,
}

/// A command without somebody behind it, or without a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is blank: a command says who asks for it and why")]
pub struct InvalidCommandMeta {
    field: &'static str,
}

impl CommandMeta {
    /// By `requested_by`, for `reason`.
    pub fn new(
        requested_by: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Self, InvalidCommandMeta> {
        Plain {
            requested_by: requested_by.into(),
            reason: reason.into(),
        }
        .try_into()
    }

    /// Who.
    pub fn requested_by(&self) -> &str {
        &self.requested_by
    }

    /// What for.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// How long the command may wait for its record in the [audit](crate::Audit) before it is refused; five
    /// seconds unless said otherwise. What it does once it has begun takes as long as it takes.
    #[must_use]
    pub fn wait_at_most(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    pub(crate) fn deadline(&self) -> Instant {
        after(Instant::now(), self.patience)
    }

    pub(crate) fn shared(&self) -> (Arc<str>, Arc<str>) {
        (self.requested_by.clone(), self.reason.clone())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    requested_by: String,
    reason: String,
}

impl TryFrom<Plain> for CommandMeta {
    type Error = InvalidCommandMeta;

    fn try_from(plain: Plain) -> Result<Self, InvalidCommandMeta> {
        let blank = |text: &str| text.trim().is_empty();
        match (blank(&plain.requested_by), blank(&plain.reason)) {
            (true, _) => Err(InvalidCommandMeta {
                field: "requested_by",
            }),
            (_, true) => Err(InvalidCommandMeta { field: "reason" }),
            _ => Ok(Self {
                requested_by: plain.requested_by.trim().into(),
                reason: plain.reason.trim().into(),
                patience: Duration::from_secs(5),
            }),
        }
    }
}
