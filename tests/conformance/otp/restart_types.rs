//! Who runs again after which end.

use rust_supervisor::{ChildSpec, SupervisorHandle, SupervisorSpec};

use crate::{
    case::{Case, case},
    given::{HOUR, add, children, gone, plain, restart, stays},
    support::{Switchboard, comes_to, running, shut_down, start},
};

pub(super) const CASES: &[Case] = &[
    Case::explained(
        "external_start_no_progress_log",
        "A restart writes no progress report for a child that was started from outside.",
        "a rule of OTP's logger; here every start is an event, whoever asked for it",
    ),
    case!(
        permanent_normal,
        "A permanent child that ends normally runs again."
    ),
    case!(
        transient_normal,
        "A transient child that ends normally does not run again and stays listed."
    ),
    case!(
        temporary_normal,
        "A temporary child that ends normally is gone."
    ),
    case!(
        permanent_shutdown,
        "A permanent child that shuts itself down runs again, every time. (To shut oneself down is to return.)"
    ),
    case!(
        transient_shutdown,
        "A transient child that shuts itself down stays down; started by hand and down again, it still does."
    ),
    case!(
        temporary_shutdown,
        "A temporary child that shuts itself down is gone; so is the next one of its name."
    ),
    case!(
        permanent_abnormal,
        "A permanent child that fails runs again."
    ),
    case!(
        transient_abnormal,
        "A transient child that fails runs again."
    ),
    case!(temporary_abnormal, "A temporary child that fails is gone."),
];

async fn with(child: ChildSpec) -> SupervisorHandle {
    let handle = start(SupervisorSpec::one_for_one("t").intensity(2, HOUR)).await;
    add(&handle, "/", plain(child)).await.unwrap();
    handle
}

#[tokio::test(start_paused = true)]
async fn permanent_normal() {
    let board = Switchboard::new();
    let handle = with(board.child("child1")).await;
    board.complete("child1");
    running(&handle, "child1", 2).await;
    assert_eq!(children(&handle, "/"), ["child1 running"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn transient_normal() {
    let board = Switchboard::new();
    let handle = with(board.child("child1").transient()).await;
    board.complete("child1");
    comes_to(&handle, "child1", "finished").await;
    stays(&handle, "child1", "finished").await;
    assert_eq!(children(&handle, "/"), ["child1 finished"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn temporary_normal() {
    let board = Switchboard::new();
    let handle = with(board.child("child1").temporary()).await;
    board.complete("child1");
    gone(&handle, "child1").await;
    stays(&handle, "child1", "gone").await;
    assert_eq!(board.log(), ["+child11", ".child11"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn permanent_shutdown() {
    let board = Switchboard::new();
    let handle = with(board.child("child1")).await;
    for run in 2..=3 {
        board.complete("child1");
        running(&handle, "child1", run).await;
        assert_eq!(children(&handle, "/"), ["child1 running"]);
    }
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn transient_shutdown() {
    let board = Switchboard::new();
    let handle = with(board.child("child1").transient()).await;
    board.complete("child1");
    comes_to(&handle, "child1", "finished").await;
    assert_eq!(restart(&handle, "child1").await.generation, 2);
    board.complete("child1");
    comes_to(&handle, "child1", "finished").await;
    stays(&handle, "child1", "finished").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn temporary_shutdown() {
    let board = Switchboard::new();
    let handle = with(board.child("child1").temporary()).await;
    board.complete("child1");
    gone(&handle, "child1").await;
    add(&handle, "/", board.child("child1").temporary())
        .await
        .unwrap();
    board.complete("child1");
    gone(&handle, "child1").await;
    stays(&handle, "child1", "gone").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn permanent_abnormal() {
    let board = Switchboard::new();
    let handle = with(board.child("child1")).await;
    board.fail("child1");
    running(&handle, "child1", 2).await;
    board.panic("child1");
    running(&handle, "child1", 3).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn transient_abnormal() {
    let board = Switchboard::new();
    let handle = with(board.child("child1").transient()).await;
    board.fail("child1");
    running(&handle, "child1", 2).await;
    board.panic("child1");
    running(&handle, "child1", 3).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn temporary_abnormal() {
    let board = Switchboard::new();
    let handle = with(board.child("child1").temporary()).await;
    board.fail("child1");
    gone(&handle, "child1").await;
    stays(&handle, "child1", "gone").await;
    assert_eq!(board.log(), ["+child11", "!child11"]);
    assert!(shut_down(&handle).await.clean);
}
