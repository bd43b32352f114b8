use tracing::{error, info, warn};

use super::TreeEvent;
use crate::commanded::Commanded;

const TARGET: &str = "rust_supervisor";

/// The same as [`log`] of a command that is about to be carried out.
pub(crate) fn log_command(commanded: &Commanded) {
    let Commanded {
        command, path, by, ..
    } = commanded;
    let (requested_by, reason) = (by.requested_by(), by.reason());
    info!(target: TARGET, path = path.as_str(), %command, %requested_by, %reason, "command");
}

/// What of the journal a person reads in the program's log: who gave up, what restarts together, who
/// commanded what. What concerns one child its layers log. To be called with nothing locked: a subscriber
/// is the program's, and may ask for the tree's state.
pub(crate) fn log(path: &str, event: &TreeEvent) {
    match event {
        TreeEvent::IntensityExceeded { restarts, period } => {
            error!(target: TARGET, path, restarts, ?period, "intensity exceeded");
        }
        TreeEvent::Escalated { policy, reason } => {
            error!(target: TARGET, path, ?policy, %reason, "gave up");
        }
        TreeEvent::GroupRestartBegun {
            failed,
            members,
            delay,
            ..
        } => warn!(target: TARGET, path, %failed, members, ?delay, "group restart"),
        TreeEvent::CommandRefused {
            command,
            requested_by,
            error,
            ..
        } => warn!(target: TARGET, path, %command, %requested_by, %error, "command refused"),
        TreeEvent::SubscriberLagged {
            subscriber,
            level,
            behind,
            capacity,
        } => warn!(target: TARGET, %subscriber, ?level, behind, capacity, "subscriber is behind"),
        TreeEvent::JournalFailed { path, error } => {
            error!(target: TARGET, file = %path, %error, "journal file cannot be written");
        }
        TreeEvent::JournalRecovered { path } => {
            info!(target: TARGET, file = %path, "journal file is written again");
        }
        TreeEvent::AuditFailed { path, error } => {
            error!(target: TARGET, file = %path, %error, "audit file cannot be written");
        }
        TreeEvent::AuditRecovered { path, lost } => {
            info!(target: TARGET, file = %path, lost, "audit file is written again");
        }
        TreeEvent::ShutdownStageEntered { stage } => {
            info!(target: TARGET, ?stage, "shutdown");
        }
        TreeEvent::ShutdownCompleted { clean: true } => info!(target: TARGET, "shutdown clean"),
        TreeEvent::ShutdownCompleted { clean: false } => {
            error!(target: TARGET, "shutdown left something alive");
        }
        _ => {}
    }
}
