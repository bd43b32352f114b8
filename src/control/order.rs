use std::sync::Arc;

use super::{CommandMeta, CommandOutcome};
use crate::{
    SupervisorError,
    audit::{AuditEntry, AuditedCommand},
    event::TreeEvent,
    metrics,
    spec::SupervisorPath,
    tree::Tree,
};

/// A command on its way: what is told of it, in the audit first and then among the events.
pub(super) struct Order {
    tree: Arc<Tree>,
    command: &'static str,
    /// The same, as what is told of it shares it.
    name: Arc<str>,
    path: SupervisorPath,
    by: CommandMeta,
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
            command,
            name: command.into(),
            path,
            by: by.clone(),
        }
    }

    /// It is about to be carried out, unless that cannot be recorded. The number of the record, and what the
    /// events that follow carry.
    pub(super) async fn accepted(&self) -> Result<(u64, u64), SupervisorError> {
        let accepted = match &self.tree.audit {
            None => 0,
            Some(audit) => {
                let command = self.audited();
                let entry = AuditEntry::CommandAccepted { command };
                let until = self.by.deadline();
                match audit.admit(entry, until, &self.tree).await {
                    Ok(number) => number,
                    Err((number, reason)) => {
                        let reason = reason.0.to_string();
                        let error = SupervisorError::NotAudited { reason };
                        // Its acceptance may be in the file, or come to be there.
                        audit.tell(self.refusal(&error, Some(number)));
                        self.record_refusal(&error);
                        return Err(error);
                    }
                }
            }
        };
        let correlation = self.tree.accepted(&self.name, &self.path, &self.by);
        Ok((accepted, correlation))
    }

    /// It is not carried out.
    pub(super) async fn refused(&self, error: &SupervisorError) {
        if let Some(audit) = &self.tree.audit {
            let entry = self.refusal(error, None);
            audit.note(entry, self.by.deadline(), &self.tree).await;
        }
        self.record_refusal(error);
    }

    /// It has been carried out, or could not be.
    pub(super) async fn completed(
        &self,
        result: &Result<CommandOutcome, SupervisorError>,
        accepted: u64,
        correlation: u64,
    ) {
        let words: Arc<str> = match result {
            Ok(outcome) => outcome.to_string().into(),
            Err(error) => error.to_string().into(),
        };
        if let Some(audit) = &self.tree.audit {
            let (command, words) = (self.audited(), words.clone());
            let entry = match result {
                Ok(outcome) => AuditEntry::CommandCompleted {
                    command,
                    accepted: Some(accepted),
                    change: outcome.change,
                    outcome: words,
                    correlation_id: Some(correlation),
                },
                Err(_) => AuditEntry::CommandFailed {
                    command,
                    accepted,
                    error: words,
                    correlation_id: correlation,
                },
            };
            audit.note(entry, self.by.deadline(), &self.tree).await;
        }
        if self.tree.counted {
            let ended = match result {
                Ok(_) => "completed",
                Err(_) => "failed",
            };
            metrics::command_ended(self.command, ended);
        }
        self.tree
            .completed(&self.name, &self.path, words, correlation);
    }

    fn audited(&self) -> AuditedCommand {
        AuditedCommand::new(&self.name, &self.path, &self.by)
    }

    fn refusal(&self, error: &SupervisorError, accepted: Option<u64>) -> AuditEntry {
        AuditEntry::CommandRefused {
            command: self.audited(),
            accepted,
            error: error.to_string().into(),
        }
    }

    fn record_refusal(&self, error: &SupervisorError) {
        let (requested_by, reason) = self.by.shared();
        let event = TreeEvent::CommandRefused {
            command: self.name.clone(),
            requested_by,
            reason,
            error: error.to_string().into(),
        };
        self.tree.record(&self.path, event, 0);
    }
}
