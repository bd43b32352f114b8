//! A time without end, wherever a time is given.

mod support;

use std::time::Duration;

use rust_supervisor::{
    Backoff, ChildShutdownStatus, ChildSpec, ReadinessPolicy, SupervisorSpec, TaskContext, ms,
    secs, service_fn,
};
use support::{Switchboard, by, comes_to, running, shut_down, start, status, within};

const MAX: Duration = Duration::MAX;

/// Beats, and takes a second to stop.
async fn slow(ctx: TaskContext) {
    ctx.mark_ready();
    while !ctx.is_cancelled() {
        ctx.heartbeat();
        ctx.run_until_cancelled(tokio::time::sleep(secs(1))).await;
    }
    ctx.extend_stop(MAX);
    tokio::time::sleep(secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_a_run_and_a_stop_may_take_for_ever() {
    let bare = ChildSpec::new("bare", service_fn(slow));
    let inner = SupervisorSpec::rest_for_one("n")
        .grace(MAX)
        .abort_wait(MAX)
        .intensity(1, MAX)
        .child(bare.readiness(ReadinessPolicy::Explicit))
        .child(
            ChildSpec::worker("slow", slow)
                .readiness(ReadinessPolicy::Explicit)
                .start_timeout(MAX)
                .heartbeat_within(MAX)
                .fuse(1, MAX)
                .grace(MAX),
        );
    let tree = SupervisorSpec::one_for_one("t")
        .total_timeout(MAX)
        .supervisor(inner);
    let handle = start(tree).await;
    running(&handle, "n/slow", 1).await;
    for path in ["n/bare", "n/slow"] {
        let again = within(handle.restart_child(path, &by())).await.unwrap();
        assert_eq!(again.generation, 2);
        running(&handle, path, 2).await;
    }
    let result = shut_down(&handle).await;
    assert!(result.clean && !result.report.timed_out);
    for path in ["/n/bare", "/n/slow"] {
        assert_eq!(status(&result, path), ChildShutdownStatus::Graceful);
    }
    assert_eq!(result.report.took, secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_member_of_a_group_may_take_for_ever_to_start_again() {
    let board = Switchboard::new();
    let bare = ChildSpec::new("bare", service_fn(slow)).start_timeout(MAX);
    let tree = SupervisorSpec::one_for_all("t")
        .grace(MAX)
        .child(board.child("a").backoff(None))
        .child(bare.readiness(ReadinessPolicy::Explicit));
    let handle = start(tree).await;
    board.fail("a");
    running(&handle, "bare", 2).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_wait_or_a_hold_may_last_for_ever() {
    for grouped in [false, true] {
        let board = Switchboard::new();
        let forever = Backoff::constant(MAX);
        let tree = if grouped {
            SupervisorSpec::one_for_all("t")
        } else {
            SupervisorSpec::one_for_one("t")
        };
        let tree = tree
            .child(board.child("waits").backoff(forever))
            .child(board.child("held").fuse(0, MAX).quarantine_for(MAX));
        let handle = start(tree).await;
        board.fail("held");
        comes_to(&handle, "held", "quarantined").await;
        board.fail("waits");
        let waits = if grouped { "waiting" } else { "backing_off" };
        comes_to(&handle, "waits", waits).await;
        tokio::time::sleep(secs(500)).await;
        assert_eq!(board.log().len(), 4, "nothing has run again");
        let result = shut_down(&handle).await;
        assert!(result.clean);
        assert_eq!(result.report.took, ms(0));
    }
}
