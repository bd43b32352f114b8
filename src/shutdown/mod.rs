//! The end of a tree: four stages, and a report of what was counted.

mod exit;
mod report;

pub use exit::{ExitOutcome, RuntimeExitReport};
pub use report::{
    ChildShutdown, ChildShutdownStatus, ShutdownPipelineReport, ShutdownReconcileReport,
    ShutdownResult, ShutdownStage, SocketStatus, Straggler,
};
