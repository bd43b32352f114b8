use supervisor_layers::LifecycleEvent;
use tracing::{error, info, warn};

use super::{EventKind, TreeEvent};

/// What of the journal a person reads in the program's log: what is broken, and who did what. The rest
/// is told by the run's own span.
pub(super) fn log(path: &str, kind: &EventKind) {
    const TARGET: &str = "rust_supervisor";

    match kind {
        EventKind::Lifecycle(event) => match event {
            LifecycleEvent::Quarantined { reason, .. } => {
                warn!(target: TARGET, path, %reason, "quarantined");
            }
            LifecycleEvent::Unhealthy { reason } => {
                warn!(target: TARGET, path, %reason, "unhealthy");
            }
            LifecycleEvent::Released { .. } | LifecycleEvent::Resumed => {
                info!(target: TARGET, path, "released");
            }
            LifecycleEvent::Paused => info!(target: TARGET, path, "paused"),
            _ => {}
        },
        EventKind::Tree(event) => match event {
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
            TreeEvent::CommandAccepted {
                command,
                requested_by,
                reason,
            } => info!(target: TARGET, path, %command, %requested_by, %reason, "command"),
            TreeEvent::CommandRefused {
                command,
                requested_by,
                error,
                ..
            } => warn!(target: TARGET, path, %command, %requested_by, %error, "command refused"),
            TreeEvent::ShutdownStageEntered { stage } => {
                info!(target: TARGET, ?stage, "shutdown");
            }
            TreeEvent::ShutdownCompleted { clean: true } => info!(target: TARGET, "shutdown clean"),
            TreeEvent::ShutdownCompleted { clean: false } => {
                error!(target: TARGET, "shutdown left something alive");
            }
            _ => {}
        },
    }
}
