use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::SupervisorPath;

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
    pub status: String,
}

/// What a command changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// What it says.
    Done,
    /// Nothing: it was so already.
    AlreadySo,
    /// What it says, but a run that cannot be ended goes on.
    Lingering,
}

impl fmt::Display for CommandOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Change::Done => "done",
            Change::AlreadySo => "was so already",
            Change::Lingering => "done, but its run cannot be ended and goes on",
        };
        let words = [
            self.command,
            " ",
            self.path.as_str(),
            ": ",
            change,
            "; ",
            &self.status,
        ];
        words.into_iter().try_for_each(|word| f.write_str(word))
    }
}
