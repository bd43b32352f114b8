use std::sync::Arc;

use super::{CommandMeta, CommandOutcome};
use crate::{
    SupervisorError,
    audit::{AuditEntry, AuditedCommand, Entry},
    commanded::{Commanded, Outcome},
    event::TreeEvent,
    metrics,
    spec::SupervisorPath,
    tree::Tree,
};

/// A command on its way: it is told in the audit first and then among the events.
pub(super) struct Order {
    tree: Arc<Tree>,
    commanded: Arc<Commanded>,
}

/// An order that has been recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    /// The number of its record in the audit; 0 without one.
    number: u64,
    /// What the events that follow carry.
    pub(super) correlation: u64,
}

impl Order {
    pub(super) fn new(
        tree: &Arc<Tree>,
        command: &'static str,
        path: SupervisorPath,
        by: &CommandMeta,
    ) -> Self {
        Self {
            tree: tree.clone(),
            commanded: Arc::new(Commanded::new(command, path, by.clone())),
        }
    }

    /// It is about to be carried out, unless that cannot be recorded.
    pub(super) async fn accepted(&self) -> Result<Accepted, SupervisorError> {
        let at = self.tree.journal.now();
        let number = match &self.tree.audit {
            None => 0,
            Some(audit) => {
                let entry = Entry::Accepted(self.commanded.clone());
                let patience = &self.commanded.by;
                match audit.admit(entry, at, patience, &self.tree).await {
                    Ok(number) => number,
                    Err((number, reason)) => {
                        let reason = reason.0.to_string();
                        let error = SupervisorError::NotAudited { reason };
                        // Its acceptance may be in the file, or come to be there.
                        audit.tell(self.refusal(&error, Some(number)), at);
                        self.record_refusal(&error);
                        return Err(error);
                    }
                }
            }
        };
        let correlation = self.tree.accepted(&self.commanded, at);
        Ok(Accepted {
            number,
            correlation,
        })
    }

    /// It is not carried out.
    pub(super) async fn refused(&self, error: &SupervisorError) {
        if let Some(audit) = &self.tree.audit {
            let (entry, at) = (self.refusal(error, None), self.tree.journal.now());
            audit.note(entry, at, &self.commanded.by, &self.tree).await;
        }
        self.record_refusal(error);
    }

    /// It has been carried out, or could not be.
    pub(super) async fn completed(
        &self,
        result: &Result<CommandOutcome, SupervisorError>,
        accepted: Accepted,
    ) {
        self.commanded.came_to(match result {
            Ok(outcome) => Outcome::CarriedOut {
                change: outcome.change,
                status: outcome.status.clone(),
            },
            Err(error) => Outcome::Failed(error.clone()),
        });
        let at = self.tree.journal.now();
        if let Some(audit) = &self.tree.audit {
            let entry = Entry::Ended {
                commanded: self.commanded.clone(),
                accepted: accepted.number,
                correlation: accepted.correlation,
            };
            audit.note(entry, at, &self.commanded.by, &self.tree).await;
        }
        if self.tree.counted {
            let ended = match result {
                Ok(_) => "completed",
                Err(_) => "failed",
            };
            metrics::command_ended(self.commanded.command, ended);
        }
        self.tree
            .completed(&self.commanded, at, accepted.correlation);
    }

    fn refusal(&self, error: &SupervisorError, accepted: Option<u64>) -> Entry {
        let refused = AuditEntry::CommandRefused {
            command: AuditedCommand::of(&self.commanded),
            accepted,
            error: error.to_string().into(),
        };
        refused.into()
    }

    fn record_refusal(&self, error: &SupervisorError) {
        let (requested_by, reason) = self.commanded.by.shared();
        let event = TreeEvent::CommandRefused {
            command: self.commanded.command.into(),
            requested_by,
            reason,
            error: error.to_string().into(),
        };
        self.tree.record(&self.commanded.path, event, 0);
    }
}
