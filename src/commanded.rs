use std::{borrow::Cow, fmt, sync::OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SupervisorError, meta::CommandMeta, spec::SupervisorPath};

/// A command as it was given, and what came of it. What is told of it, in the audit and among the events, shares
/// it, and is put in words when somebody reads it.
pub(crate) struct Commanded {
    pub(crate) command: &'static str,
    pub(crate) path: SupervisorPath,
    pub(crate) by: CommandMeta,
    outcome: OnceLock<Outcome>,
}

/// What came of a command.
pub(crate) enum Outcome {
    CarriedOut {
        change: Change,
        /// What the child did after it.
        status: Cow<'static, str>,
    },
    Failed(SupervisorError),
}

impl Commanded {
    pub(crate) fn new(command: &'static str, path: SupervisorPath, by: CommandMeta) -> Self {
        Self {
            command,
            path,
            by,
            outcome: OnceLock::new(),
        }
    }

    /// The first outcome is the one.
    pub(crate) fn came_to(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }

    /// None until it has been carried out, or could not be.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// What came of it in words; none while nothing has.
    pub(crate) fn outcome_in_words(&self) -> String {
        match self.outcome() {
            Some(Outcome::CarriedOut { change, status }) => {
                InWords(self.command, &self.path, *change, status).to_string()
            }
            Some(Outcome::Failed(error)) => error.to_string(),
            None => String::new(),
        }
    }
}

/// A command that was carried out, in words: which, for whom, what it changed, and what the child did after it.
pub(crate) struct InWords<'a>(
    pub(crate) &'a str,
    pub(crate) &'a SupervisorPath,
    pub(crate) Change,
    pub(crate) &'a str,
);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(command, path, change, status) = self;
        let change = match change {
            Change::Done => "done",
            Change::AlreadySo => "was so already",
            Change::Lingering => "done, but its run cannot be ended and goes on",
        };
        write!(f, "{command} {path}: {change}; {status}")
    }
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
