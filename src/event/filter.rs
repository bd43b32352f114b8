use serde::{Deserialize, Serialize};

use super::{EventKind, Severity};
use crate::spec::SupervisorPath;

/// Which events a subscriber wants. As it is made: all.
///
/// ```
/// use rust_supervisor::{EventFilter, Severity};
///
/// let filter = EventFilter::new().under("/storage").at_least(Severity::Warning);
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    /// Of these children and supervisors, and of all below them; empty for all.
    paths: Vec<SupervisorPath>,
    /// Of these kinds, by [`EventKind::name`]; empty for all.
    kinds: Vec<String>,
    /// At least as severe as this.
    severity: Severity,
}

impl EventFilter {
    /// All events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of this child or supervisor and of all below it; said more than once, of any of them.
    #[must_use]
    pub fn under(mut self, path: impl Into<SupervisorPath>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Those of this kind, as [`EventKind::name`] has it; said more than once, of any of them. A kind that
    /// does not exist has no events.
    #[must_use]
    pub fn kind(mut self, name: impl Into<String>) -> Self {
        self.kinds.push(name.into());
        self
    }

    /// Those at least as severe as this.
    #[must_use]
    pub fn at_least(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Whether an event of this path and kind passes.
    pub fn passes(&self, path: &str, kind: &EventKind) -> bool {
        self.severity <= kind.severity()
            && (self.kinds.is_empty() || self.kinds.iter().any(|name| name == kind.name()))
            && (self.paths.is_empty() || self.paths.iter().any(|above| above.covers(path)))
    }
}
