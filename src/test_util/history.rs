use supervisor_layers::LifecycleEvent;

use crate::{EventKind, SupervisorEvent, TreeEvent};

/// What happened, in the words of a person; `None` for what is only bookkeeping of something told elsewhere.
pub(super) fn line(event: &SupervisorEvent) -> Option<String> {
    match &event.kind {
        EventKind::Lifecycle(step) => of_run(step, event.generation),
        EventKind::Tree(event) => of_tree(event),
    }
}

fn of_run(step: &LifecycleEvent, run: u64) -> Option<String> {
    Some(match step {
        LifecycleEvent::Starting => format!("starting {run}"),
        LifecycleEvent::Ready => format!("ready {run}"),
        LifecycleEvent::Exited { exit, message } => match message {
            Some(message) => format!("{exit} {run}: {message}"),
            None => format!("{exit} {run}"),
        },
        LifecycleEvent::BackingOff { delay } => format!("backing off {delay:?}"),
        LifecycleEvent::FuseBlown { fuse } => {
            format!("fuse blown: {} of {}", fuse.used, fuse.limit.failures)
        }
        LifecycleEvent::Quarantined { reason, .. } => format!("quarantined: {reason}"),
        LifecycleEvent::Released { .. } => "released".to_owned(),
        LifecycleEvent::Paused => "paused".to_owned(),
        LifecycleEvent::Resumed => "resumed".to_owned(),
        LifecycleEvent::Unhealthy { reason } => format!("unhealthy {run}: {reason}"),
        // The exit is told, and what follows it will be.
        LifecycleEvent::RestartDecided { .. } | LifecycleEvent::FuseCharged { .. } => return None,
        other => format!("{other:?}"),
    })
}

fn of_tree(event: &TreeEvent) -> Option<String> {
    Some(match event {
        TreeEvent::Removed => "removed".to_owned(),
        TreeEvent::GroupRestartBegun { failed, .. } => format!("group restart after {failed}"),
        TreeEvent::GroupRestartEnded { started } => format!("group restarted: {started}"),
        TreeEvent::IntensityExceeded { restarts, period } => {
            format!("intensity exceeded: {restarts} in {period:?}")
        }
        TreeEvent::Escalated { reason, .. } => format!("gave up: {reason}"),
        TreeEvent::CommandAccepted { command, .. } => format!("told {command}"),
        TreeEvent::CommandRefused { command, error, .. } => format!("refused {command}: {error}"),
        // Its first start tells, and what a command changed.
        TreeEvent::ChildAdded | TreeEvent::CommandCompleted { .. } => return None,
        TreeEvent::SubscriberLagged {
            subscriber, level, ..
        } => format!("{subscriber} is behind: {level:?}"),
        TreeEvent::JournalFailed { error, .. } => format!("journal failed: {error}"),
        TreeEvent::AuditFailed { error, .. } => format!("audit failed: {error}"),
        TreeEvent::JournalRecovered { .. } => "journal recovered".to_owned(),
        TreeEvent::AuditRecovered { .. } => "audit recovered".to_owned(),
        TreeEvent::ShutdownStageEntered { stage } => format!("shutdown: {stage:?}"),
        TreeEvent::ChildShutdown { status } => format!("shut down: {status:?}"),
        TreeEvent::ShutdownCompleted { clean: true } => "shutdown clean".to_owned(),
        TreeEvent::ShutdownCompleted { clean: false } => "shutdown not clean".to_owned(),
    })
}
