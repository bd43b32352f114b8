use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who restarts with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum SupervisionStrategy {
    /// It alone.
    #[default]
    OneForOne,
    /// All its siblings.
    OneForAll,
    /// Those declared after it.
    RestForOne,
}

/// What becomes of a supervisor that gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscalationPolicy {
    /// It fails towards its parent; the root ends the tree.
    #[default]
    EscalateToParent,
    /// The whole tree shuts down.
    ShutdownTree,
    /// It is held, visible, until released.
    QuarantineScope,
}

/// Whether a supervisor ends when its significant children have ended by themselves. As OTP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// No.
    #[default]
    Never,
    /// With the first of them.
    AnySignificant,
    /// With the last of them.
    AllSignificant,
}

/// What becomes of a child whose fuse blew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFuseBlown {
    /// It is held until released.
    #[default]
    Quarantine,
    /// Its supervisor gives up.
    Escalate,
    /// It stays down.
    Stop,
}

/// In which order a supervisor's children are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownOrder {
    /// The last started first, each one's end awaited.
    #[default]
    Reverse,
    /// All at once.
    Parallel,
}
