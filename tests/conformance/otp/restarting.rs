//! Restarts that keep failing, and restarts over time.

use rust_supervisor::{SupervisorError, SupervisorHandle, SupervisorSpec, ms, secs};

use crate::{
    case::{Case, case},
    given::{
        HOUR, add, children, crash, generation, gone, pause, plain, remove, restart, resume, state,
        stays, steady,
    },
    support::{Switchboard, by, comes_to, running, shut_down, start, until, within},
};

pub(super) const CASES: &[Case] = &[
    case!(
        multiple_restarts,
        "A child may fail for ever, if slowly: restarts older than the period do not count."
    ),
    case!(
        hanging_restart_loop,
        "A child whose restart fails again and again is shown as such and can be stopped, started and removed \
         meanwhile; its supervisor can be shut down."
    ),
    case!(
        hanging_restart_loop_rest_for_one,
        "The same within a group, whose later members wait meanwhile."
    ),
    case!(hanging_restart_loop_simple, "The same for a dynamic child."),
    case!(
        simple_global_supervisor,
        "A worker below two levels of supervisors comes back under its name: after a crash, a return, a restart by \
         hand, and a restart of the supervisor between."
    ),
];

#[tokio::test(start_paused = true)]
async fn multiple_restarts() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").intensity(1, secs(1))).await;
    add(&handle, "/", plain(board.child("child1")))
        .await
        .unwrap();
    crash(&board, &handle, "child1").await;
    for _ in 0..3 {
        tokio::time::sleep(ms(2100)).await;
        crash(&board, &handle, "child1").await;
    }
    assert!(handle.is_alive());
    pause(&handle, "child1").await;
    remove(&handle, "child1").await;
    assert!(shut_down(&handle).await.clean);
}

/// Fails, and at each start again; `id` is caught in it when this returns.
async fn caught(board: &Switchboard, handle: &SupervisorHandle, path: &str) {
    let id = path.rsplit('/').next().unwrap();
    let before = generation(handle, path);
    board.refuse(id, u32::MAX);
    board.fail(id);
    until(|| generation(handle, path) > before + 1).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop() {
    let board = Switchboard::new();
    let child = || {
        let child = board.child("child1").fuse(100, HOUR);
        child.backoff(steady(secs(2)))
    };
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    add(&handle, "/", child()).await.unwrap();
    caught(&board, &handle, "child1").await;
    let error = add(&handle, "/", child()).await.unwrap_err();
    assert!(matches!(error, SupervisorError::DuplicateId { .. }));
    comes_to(&handle, "child1", "backing_off").await;
    assert!(state(&handle, "child1").remaining.is_some());

    pause(&handle, "child1").await;
    stays(&handle, "child1", "paused").await;
    board.refuse("child1", 0);
    resume(&handle, "child1").await;
    comes_to(&handle, "child1", "running").await;

    // Restarted by hand in the middle of it, and removed.
    caught(&board, &handle, "child1").await;
    board.refuse("child1", 0);
    restart(&handle, "child1").await;
    comes_to(&handle, "child1", "running").await;
    caught(&board, &handle, "child1").await;
    remove(&handle, "child1").await;
    stays(&handle, "child1", "gone").await;

    board.refuse("child1", 0);
    add(&handle, "/", child()).await.unwrap();
    caught(&board, &handle, "child1").await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.took, ms(0));
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop_rest_for_one() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::rest_for_one("t")
        .intensity(100, HOUR)
        .child(board.child("child1"))
        .child(board.child("child2").backoff(steady(secs(2))))
        .child(board.child("child3"));
    let handle = start(tree).await;
    caught(&board, &handle, "child2").await;
    let error = add(&handle, "/", board.child("child2")).await.unwrap_err();
    assert!(matches!(error, SupervisorError::DuplicateId { .. }));
    let listed = children(&handle, "/");
    assert_eq!(
        (&*listed[0], &*listed[2]),
        ("child1 running", "child3 waiting")
    );
    assert_eq!(generation(&handle, "child1"), 1);

    // Held, it is passed over (OTP leaves those behind it down).
    pause(&handle, "child2").await;
    running(&handle, "child3", 2).await;
    stays(&handle, "child2", "paused").await;
    board.refuse("child2", 0);
    resume(&handle, "child2").await;
    comes_to(&handle, "child2", "running").await;

    caught(&board, &handle, "child2").await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.took, ms(0));
    assert_eq!(board.log().last().unwrap(), "-child11");
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop_simple() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    for id in ["x", "y"] {
        let child = board.child(id).fuse(100, HOUR);
        let child = child.backoff(steady(secs(2)));
        add(&handle, "/", child).await.unwrap();
    }
    caught(&board, &handle, "x").await;
    let removed = within(handle.remove_child("x", &by())).await.unwrap();
    assert_eq!(removed.change, rust_supervisor::Change::Done);
    gone(&handle, "x").await;
    stays(&handle, "x", "gone").await;
    assert_eq!(children(&handle, "/"), ["y running"]);
    caught(&board, &handle, "y").await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.took, ms(0));
}

#[tokio::test(start_paused = true)]
async fn simple_global_supervisor() {
    let board = Switchboard::new();
    let middle = SupervisorSpec::one_for_all("middle")
        .intensity(3, secs(60))
        .child(plain(board.child("server")));
    let tree = SupervisorSpec::one_for_all("t").supervisor(middle);
    let handle = start(tree).await;
    board.panic("server");
    running(&handle, "middle/server", 2).await;
    board.complete("server");
    running(&handle, "middle/server", 3).await;
    assert_eq!(restart(&handle, "middle/server").await.generation, 4);
    assert_eq!(restart(&handle, "middle").await.generation, 2);
    running(&handle, "middle/server", 5).await;
    assert_eq!(state(&handle, "middle").status.as_str(), "running");
    assert!(shut_down(&handle).await.clean);
}
