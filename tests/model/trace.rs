//! What a history leaves behind, whoever wrote it: the model or the library.

use std::collections::{BTreeMap, BTreeSet};

use rust_supervisor::{
    ChildShutdownStatus, EscalationPolicy, RestartAction, StopCause, TaskExit,
    layers::context::HoldReason,
};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    pub start: Option<Started>,
    pub steps: Vec<Entry>,
    /// One per line of the script, the last being the shutdown.
    pub answers: Vec<Option<(u64, Answer)>>,
    pub looks: Vec<(u64, BTreeMap<String, Look>)>,
    pub outcome: Option<Outcome>,
    /// What it came through that is worth coming through.
    pub reached: BTreeSet<Reached>,
    /// How each child took the shutdown, in the order of their ends.
    pub shutdowns: Vec<(String, u64, ChildShutdownStatus)>,
}

/// What a sufficient number of histories has to come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// A member fails by itself while its group stops.
    FailureInGroup,
    /// A child fails while its group starts.
    FailedStartInGroup,
    TemporaryInGroup,
    /// A command to a child whose siblings restart.
    CommandInGroup,
    CommandInBackoff,
    CommandWhileStopping,
    /// A child that is being taken out when the tree ends.
    RemovalAtTheEnd,
    /// A command under way when the tree shuts down.
    CommandAtTheEnd,
    /// A supervisor runs again, with a child that somebody or its fuse holds.
    HeldOverALife,
    /// A supervisor runs again without a child that was added.
    AddedGoneWithALife,
    /// A supervisor runs again with a temporary child.
    TemporaryOverALife,
    HeldRootReleased,
    GaveUpByShutdown,
    GaveUpByQuarantine,
    AutoShutdown,
    LateStart,
}

impl Reached {
    pub const ALL: usize = Self::LateStart as usize + 1;
}

#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    Yes,
    /// This child did not.
    Not(String),
    /// It was stopped meanwhile.
    Stopped,
}

/// A step, when and of whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at: u64,
    pub path: String,
    pub generation: u64,
    pub attempt: u32,
    pub step: Step,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Starting,
    Ready,
    Exited(TaskExit),
    Decided {
        action: RestartAction,
        fuse: Option<(u32, bool)>,
        delay: Option<u64>,
    },
    BackingOff(u64),
    Quarantined(Option<u64>),
    Released(HoldReason),
    Paused,
    Unhealthy,
    Added,
    Removed,
    GroupBegun {
        failed: String,
        members: usize,
        delay: u64,
    },
    GroupEnded(usize),
    Exceeded,
    Escalated(EscalationPolicy),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    Done,
    AlreadySo,
    Lingering,
    NotApplicable,
    Unknown,
    Duplicate,
    NotStarted,
    ShuttingDown,
    /// A kind of error that no plan should lead to.
    Other,
}

/// Everything about one child at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    pub status: &'static str,
    pub stop: Option<StopCause>,
    pub ready: bool,
    pub generation: u64,
    pub attempt: u32,
    pub restarts: u64,
    pub exits: BTreeMap<TaskExit, u64>,
    /// Until when, for a backoff or a quarantine.
    pub remaining: Option<u64>,
    pub fuse: Option<(u32, bool)>,
    pub intensity: Option<u32>,
    pub group_restarts: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    ShutDown,
    Finished,
    GaveUp,
}
