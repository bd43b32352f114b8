//! The end of a supervisor and of its handles.

use rust_supervisor::{
    ChildShutdownStatus, ChildSpec, ExitOutcome, Supervisor, SupervisorSpec, ms,
};
use tokio::time::Instant;

use crate::{
    case::{Case, case},
    given::{HOUR, MINUTE, generation, idle, status_of},
    support::{Switchboard, by, comes_to, deaf, shut_down, start, status, until, within},
};

use super::one;

pub(super) const CASES: &[Case] = &[
    case!(
        shutdown_lets_cooperative_tasks_finish,
        "A shutdown lets tasks end by themselves."
    ),
    case!(
        shutdown_is_bounded_by_shutdown_timeout,
        "A shutdown takes no longer than its time if a task does not listen."
    ),
    case!(
        dropping_last_handle_shuts_down_gracefully,
        "Nothing ends while there is a handle; when the last is dropped all are asked to stop."
    ),
    case!(
        "dropping_one_clone_keeps_supervisor_running",
        dropping_last_handle_shuts_down_gracefully,
        "Dropping one of several handles ends nothing."
    ),
    case!(
        wait_can_be_called_repeatedly_and_concurrently,
        "Any number may wait for the end, at once or later, and get the same answer."
    ),
    case!(
        wait_reports_runtime_abort,
        "Who waits for a supervisor whose runtime is dropped is answered, and does not hear of a clean end."
    ),
    case!(
        kill_pending_at_shutdown_resolves_ok,
        "A kill that waits for its run's end when the shutdown begins succeeds."
    ),
    case!(
        restart_pending_at_shutdown_reports_closed,
        "A restart that waits for it fails: there will be no new run."
    ),
];

#[tokio::test(start_paused = true)]
async fn shutdown_lets_cooperative_tasks_finish() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t");
    let handle = start(tree.child(board.child("a")).child(board.child("b"))).await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    for path in ["/a", "/b"] {
        assert_eq!(status(&result, path), ChildShutdownStatus::Graceful);
    }
    assert_eq!(board.log()[2..], ["-b1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_bounded_by_shutdown_timeout() {
    let by_grace = SupervisorSpec::one_for_one("t").child(deaf("t").grace(ms(200)));
    let by_budget = SupervisorSpec::one_for_one("t")
        .total_timeout(ms(200))
        .child(deaf("t").grace(HOUR))
        .child(deaf("u").grace(HOUR));
    for tree in [by_grace, by_budget] {
        let handle = start(tree).await;
        let began = Instant::now();
        assert!(shut_down(&handle).await.clean);
        assert_eq!(began.elapsed(), ms(200));
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_last_handle_shuts_down_gracefully() {
    let board = Switchboard::new();
    let handle = one(board.child("t")).await;
    let clone = handle.clone();
    drop(handle);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(board.log(), ["+t1"]);
    assert_eq!(status_of(&clone, "t"), "running");
    drop(clone);
    until(|| board.log().len() == 2).await;
    assert_eq!(board.log(), ["+t1", "-t1"]);
}

#[tokio::test(start_paused = true)]
async fn wait_can_be_called_repeatedly_and_concurrently() {
    let handle = one(ChildSpec::worker("t", idle)).await;
    let ending = {
        let handle = handle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ms(5)).await;
            handle.shutdown_tree(&by()).await
        })
    };
    let (first, second) = within(async { tokio::join!(handle.join(), handle.join()) }).await;
    assert_eq!(first.outcome, ExitOutcome::ShutDown);
    assert_eq!(first, second);
    assert_eq!(within(handle.join()).await, first);
    let result = ending.await.unwrap().unwrap();
    assert_eq!(first.shutdown, Some(result));
}

#[test]
fn wait_reports_runtime_abort() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let first = runtime();
    let tree = SupervisorSpec::one_for_one("t").child(deaf("t"));
    let handle = first.block_on(Supervisor::start(tree)).unwrap();
    drop(first);
    let report = runtime().block_on(within(handle.join()));
    match report.outcome {
        ExitOutcome::GaveUp { reason } => assert!(reason.contains("torn down"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(report.shutdown, None);
    assert!(!handle.is_alive());
}

#[tokio::test(start_paused = true)]
async fn kill_pending_at_shutdown_resolves_ok() {
    let handle = one(deaf("t").grace(ms(200))).await;
    let killing = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.pause_child("t", &by()).await })
    };
    comes_to(&handle, "t", "stopping").await;
    assert!(shut_down(&handle).await.clean);
    assert!(within(killing).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn restart_pending_at_shutdown_reports_closed() {
    let handle = one(deaf("t").grace(ms(200))).await;
    let restarting = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.restart_child("t", &by()).await })
    };
    comes_to(&handle, "t", "stopping").await;
    assert!(shut_down(&handle).await.clean);
    assert!(within(restarting).await.unwrap().is_err());
    assert_eq!(generation(&handle, "t"), 1);
}
