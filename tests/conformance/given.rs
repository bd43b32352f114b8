//! Small words that many cases are told in.

use std::time::Duration;

use rust_supervisor::{
    Backoff, ChildSpec, CommandOutcome, ExitOutcome, Jitter, NewChild, NodeState,
    SupervisionStrategy, SupervisorError, SupervisorHandle, TaskContext,
};

use crate::support::{Switchboard, by, running, until, within};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) const STRATEGIES: [SupervisionStrategy; 3] = [
    SupervisionStrategy::OneForOne,
    SupervisionStrategy::OneForAll,
    SupervisionStrategy::RestForOne,
];

/// Works until it is asked to stop.
pub(crate) async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

/// Waits exactly so long before each restart.
pub(crate) fn steady(wait: Duration) -> Backoff {
    Backoff::constant(wait).jitter(Jitter::None)
}

/// Neither fuse nor backoff: its restarts come at once and are charged to its supervisor.
pub(crate) fn plain(child: ChildSpec) -> ChildSpec {
    child.no_fuse().backoff(None)
}

pub(crate) fn state(handle: &SupervisorHandle, path: &str) -> NodeState {
    handle
        .child_state(path)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The name of its status, or `gone`.
pub(crate) fn status_of(handle: &SupervisorHandle, path: &str) -> &'static str {
    handle
        .child_state(path)
        .map_or("gone", |child| child.status.as_str())
}

pub(crate) fn generation(handle: &SupervisorHandle, path: &str) -> u64 {
    state(handle, path).generation
}

/// Why its last run failed.
pub(crate) fn message(handle: &SupervisorHandle, path: &str) -> String {
    let last = state(handle, path).last_exit.expect("a run has ended");
    last.message.expect("a failure").to_string()
}

/// A supervisor's children and their statuses, in start order.
pub(crate) fn children(handle: &SupervisorHandle, path: &str) -> Vec<String> {
    let told = |child: &NodeState| format!("{} {}", child.id, child.status.as_str());
    state(handle, path).children.iter().map(told).collect()
}

/// How many of them are in this status.
pub(crate) fn count(handle: &SupervisorHandle, status: &str) -> usize {
    let children = handle.health().children;
    children.get(status).copied().unwrap_or_default()
}

/// Fails the child and waits for its next run.
pub(crate) async fn crash(board: &Switchboard, handle: &SupervisorHandle, path: &str) {
    let next = generation(handle, path) + 1;
    board.fail(path.rsplit('/').next().unwrap());
    running(handle, path, next).await;
}

pub(crate) async fn gone(handle: &SupervisorHandle, path: &str) {
    until(|| handle.child_state(path).is_err()).await;
}

/// Nothing becomes of it in a minute.
pub(crate) async fn stays(handle: &SupervisorHandle, path: &str, status: &str) {
    let before = handle.child_state(path).map(|child| child.generation).ok();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(status_of(handle, path), status, "{path}");
    let after = handle.child_state(path).map(|child| child.generation).ok();
    assert_eq!(before, after, "{path} has run again");
}

pub(crate) async fn add(
    handle: &SupervisorHandle,
    parent: &str,
    child: impl Into<NewChild>,
) -> Result<CommandOutcome, SupervisorError> {
    within(handle.add_child(parent, child, &by())).await
}

pub(crate) async fn pause(handle: &SupervisorHandle, path: &str) {
    within(handle.pause_child(path, &by())).await.unwrap();
}

pub(crate) async fn resume(handle: &SupervisorHandle, path: &str) {
    within(handle.resume_child(path, &by())).await.unwrap();
}

pub(crate) async fn remove(handle: &SupervisorHandle, path: &str) {
    within(handle.remove_child(path, &by())).await.unwrap();
}

pub(crate) async fn restart(handle: &SupervisorHandle, path: &str) -> CommandOutcome {
    within(handle.restart_child(path, &by())).await.unwrap()
}

/// Waits for the tree's end and says why its root gave up.
pub(crate) async fn gave_up(handle: &SupervisorHandle) -> String {
    match within(handle.join()).await.outcome {
        ExitOutcome::GaveUp { reason } => reason,
        other => panic!("{other:?}"),
    }
}
