use std::{borrow::Cow, fmt};

use serde::Serialize;

use super::Change;
use crate::{commanded::InWords, spec::SupervisorPath};

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandOutcome {
    /// Which command.
    pub command: &'static str,
    /// The child.
    pub path: SupervisorPath,
    /// Which addition of it.
    pub instance: u64,
    /// Its current or last run.
    pub generation: u64,
    /// What it did.
    pub change: Change,
    /// What the child is doing now, in words.
    pub status: Cow<'static, str>,
}

impl fmt::Display for CommandOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        InWords(self.command, &self.path, self.change, &self.status).fmt(f)
    }
}
