use std::fmt;

use serde_json::Value;

/// Everything that is wrong with a configuration, at once.
///
/// It shows one line per problem, in `Debug` too: so a program whose `main` returns it tells a person what
/// to change.
#[derive(Clone, PartialEq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The file, or the environment variable.
    pub file: String,
    /// The path of the key, like `children[2].policy.max_backoff_ms`; empty where it is the file itself.
    pub key: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The file cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// The operating system's words.
        reason: String,
    },
    /// The file is not in its format.
    #[error("{message}")]
    Syntax {
        /// Counted from 1; 0 where unknown.
        line: usize,
        /// Counted from 1; 0 where unknown.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// Files include each other.
    #[error("includes itself: {}", chain.join(" -> "))]
    IncludeCycle {
        /// From the file back to itself.
        chain: Vec<String>,
    },
    /// There is no such key.
    #[error("there is no such key; {}", did_you_mean(nearest.as_deref(), known, "known here"))]
    UnknownKey {
        /// The key that was probably meant.
        nearest: Option<String>,
        /// The keys there are.
        known: Vec<String>,
    },
    /// A key that has to be there is not.
    #[error("is missing: {expected}")]
    Missing {
        /// What belongs there.
        expected: String,
    },
    /// The value is of another type.
    #[error("is {}, expected {expected}", shown(value))]
    WrongType {
        /// What was found.
        value: Value,
        /// What belongs there.
        expected: String,
    },
    /// The number is too small or too large.
    #[error("is {}, out of range: allowed is {allowed}", shown(value))]
    OutOfRange {
        /// What was found.
        value: Value,
        /// What is allowed.
        allowed: String,
    },
    /// The word is none of those allowed.
    #[error("is {}; {}", shown(value), did_you_mean(nearest.as_deref(), allowed, "allowed"))]
    NotOneOf {
        /// What was found.
        value: Value,
        /// What is allowed.
        allowed: Vec<String>,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// The name is of nothing that exists.
    #[error("names the {what} {name:?}, which does not exist; {}", did_you_mean(nearest.as_deref(), known, "there are"))]
    UnknownName {
        /// What it should be the name of.
        what: &'static str,
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The value is of the right type and still cannot be.
    #[error("is {}: {reason}", shown(value))]
    Invalid {
        /// What was found.
        value: Value,
        /// Why not, and what instead.
        reason: String,
    },
    /// A factory does not understand its settings.
    #[error("does not fit factory {factory:?}: {reason}")]
    Settings {
        /// The factory's name.
        factory: String,
        /// What it says.
        reason: String,
    },
    /// A factory panicked.
    #[error("names the factory {factory:?}, which panicked: {reason}")]
    FactoryPanicked {
        /// The factory's name.
        factory: String,
        /// Message and location of the panic.
        reason: String,
    },
    /// Anything else that the loader refuses.
    #[error("cannot be loaded: {reason}")]
    Refused {
        /// The loader's words.
        reason: String,
    },
}

impl ConfigError {
    /// These problems, of which there is one at least.
    pub(super) fn of(problems: Vec<ConfigProblem>) -> Self {
        Self { problems }
    }

    /// What is wrong, in the order of the files.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl From<ConfigProblem> for ConfigError {
    fn from(problem: ConfigProblem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl ConfigProblem {
    pub(super) fn new(file: impl Into<String>, key: impl Into<String>, kind: ProblemKind) -> Self {
        Self {
            file: file.into(),
            key: key.into(),
            kind,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has a problem:")?,
            n => write!(f, "the configuration has {n} problems:")?,
        }
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let ProblemKind::Syntax { line, column, .. } = self.kind
            && line > 0
        {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.kind)
    }
}

/// A value as its file might have it, cut where it is long.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::Null => "empty".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn did_you_mean(nearest: Option<&str>, known: &[String], words: &str) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("{words}: {}", known.join(", ")),
    }
}
