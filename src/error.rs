use std::{fmt, path::PathBuf};

use crate::{
    meta::InvalidCommandMeta,
    spec::{InvalidId, SupervisorPath},
};

/// Why a tree could not be started, or a command not be carried out. Nothing has changed then.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A child did not start; what had started was stopped again in reverse order.
    #[error("{path} could not be started: {reason}")]
    StartFailed {
        /// The child.
        path: SupervisorPath,
        /// How its first run ended.
        reason: String,
    },
    /// The start was stopped by a signal, a cancelled token or a shutdown.
    #[error("the start was stopped before all children had started")]
    StartStopped,
    /// A child's name cannot be one.
    #[error("under {parent}: {source}")]
    InvalidId {
        /// The supervisor it was to stand under.
        parent: SupervisorPath,
        /// What is wrong with it.
        source: InvalidId,
    },
    /// A supervisor has a child of that name already.
    #[error("{path} exists already; remove it first or choose another name")]
    DuplicateId {
        /// The name taken.
        path: SupervisorPath,
    },
    /// A dependency cannot be.
    #[error("{path} depends on {on:?}: {reason}")]
    InvalidDependency {
        /// The child that names it.
        path: SupervisorPath,
        /// The sibling named.
        on: String,
        /// Why it cannot be.
        reason: &'static str,
    },
    /// No such child.
    #[error("no child at {path}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownPath {
        /// The path asked for.
        path: SupervisorPath,
        /// The most similar one there is.
        nearest: Option<SupervisorPath>,
    },
    /// The path is that of a child, not of a supervisor.
    #[error("{path} is no supervisor")]
    NotASupervisor {
        /// The path asked for.
        path: SupervisorPath,
    },
    /// The child's state does not admit the command.
    #[error("{command} does not apply to {path}, which is {status}")]
    NotApplicable {
        /// The command.
        command: &'static str,
        /// The child.
        path: SupervisorPath,
        /// What the child is doing.
        status: String,
    },
    /// The supervisor takes no children while it runs, or no more.
    #[error("{path} takes no further children: {reason}")]
    NotDynamic {
        /// The supervisor.
        path: SupervisorPath,
        /// Why.
        reason: String,
    },
    /// A declaration stands for no child.
    #[error("what is declared under {parent} cannot be: {reason}")]
    InvalidDeclaration {
        /// The supervisor it was to stand under.
        parent: SupervisorPath,
        /// Everything that is wrong with it.
        reason: String,
    },
    /// The path is that of a child, not of a pool.
    #[error("{path} is no pool")]
    NotAPool {
        /// The path asked for.
        path: SupervisorPath,
    },
    /// Siblings depend on the child.
    #[error("{path} cannot be removed: {dependants} depend on it")]
    HasDependants {
        /// The child.
        path: SupervisorPath,
        /// Who names it in `depends_on`.
        dependants: String,
    },
    /// Too many commands are under way; try again.
    #[error("busy: {capacity} commands are under way already")]
    Busy {
        /// How many may be.
        capacity: usize,
    },
    /// The control plane was stopped; supervision goes on.
    #[error("the control plane was stopped; supervision goes on, and shutdown_tree still works")]
    ControlPlaneStopped,
    /// The tree is shutting down, or has ended.
    #[error("the tree is shutting down or has ended")]
    ShuttingDown,
    /// Nobody stands behind the command.
    #[error(transparent)]
    InvalidCommandMeta(#[from] InvalidCommandMeta),
    /// A file that the tree is to keep cannot be written.
    #[error("the {what} {} cannot be written: {reason}", path.display())]
    FileUnavailable {
        /// What it is for: journal file or audit file.
        what: &'static str,
        /// Where it is to be.
        path: PathBuf,
        /// Why it cannot.
        reason: String,
    },
    /// The command could not be recorded in the audit, and was not carried out.
    #[error("not recorded in the audit, and not carried out: {reason}")]
    NotAudited {
        /// Why it could not.
        reason: String,
    },
    /// Signals cannot be listened to here.
    #[error("cannot listen to signals: {0}")]
    Signal(String),
    /// A runtime could not be made.
    #[error("cannot make a runtime: {0}")]
    Runtime(String),
}

/// As `Display`: a `main` that returns this error prints it so.
impl fmt::Debug for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
