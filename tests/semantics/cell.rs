use rust_supervisor::{Change, SupervisorError};

/// What a cell of the commands' tables says.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub answer: Answer,
    /// Where the child comes to; absent where it goes on as it would have without the command.
    pub left: Option<String>,
}

/// How a command is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done,
    AlreadySo,
    Lingers,
    Refused(String),
    /// Nothing of this kind comes into that state.
    CannotBe,
}

impl Cell {
    pub fn parse(text: &str) -> Self {
        let (answer, left) = match text.split_once(" → ") {
            Some((answer, left)) => (answer, Some(left.to_owned())),
            None => (text, None),
        };
        let answer = match answer {
            "done" => Answer::Done,
            "already so" => Answer::AlreadySo,
            "lingers" => Answer::Lingers,
            "cannot be" => Answer::CannotBe,
            other => match other.strip_prefix("refused: ") {
                Some(error) => Answer::Refused(error.to_owned()),
                None => panic!("what is {text:?}?"),
            },
        };
        Self { answer, left }
    }
}

impl From<Change> for Answer {
    fn from(change: Change) -> Self {
        match change {
            Change::Done => Self::Done,
            Change::AlreadySo => Self::AlreadySo,
            Change::Lingering => Self::Lingers,
        }
    }
}

impl From<&SupervisorError> for Answer {
    fn from(error: &SupervisorError) -> Self {
        let name = match error {
            SupervisorError::NotApplicable { .. } => "NotApplicable",
            SupervisorError::UnknownPath { .. } => "UnknownPath",
            SupervisorError::NotASupervisor { .. } => "NotASupervisor",
            SupervisorError::NotAPool { .. } => "NotAPool",
            SupervisorError::Busy { .. } => "Busy",
            SupervisorError::ControlPlaneStopped => "ControlPlaneStopped",
            SupervisorError::ShuttingDown => "ShuttingDown",
            other => panic!("{other}"),
        };
        Self::Refused(name.to_owned())
    }
}
