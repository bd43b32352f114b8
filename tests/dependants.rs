//! Children that depend on siblings, when their group starts again.

mod support;

use rust_supervisor::{
    Backoff, ChildSpec, ReadinessPolicy, SupervisionStrategy, SupervisorError, SupervisorHandle,
    SupervisorSpec, TaskContext, ms, secs,
};
use support::{Switchboard, by, comes_to, running, shut_down, start, until, within};

/// `b` needs `a`, and `c` needs `b`; `d` needs nobody.
fn chain(board: &Switchboard, strategy: SupervisionStrategy) -> SupervisorSpec {
    SupervisorSpec::new("n", strategy)
        .child(board.child("a").backoff(None))
        .child(board.child("b").backoff(None).depends_on(["a"]))
        .child(board.child("c").backoff(None).depends_on(["b"]))
        .child(board.child("d").backoff(None))
}

fn status(handle: &SupervisorHandle, path: &str) -> String {
    handle.child_state(path).unwrap().status.to_string()
}

async fn pause(handle: &SupervisorHandle, path: &str) {
    within(handle.pause_child(path, &by())).await.unwrap();
}

async fn resume(handle: &SupervisorHandle, path: &str) {
    within(handle.resume_child(path, &by())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_held_sibling_waits_in_a_group_restart_and_the_others_go_on() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::OneForAll)).await;
    pause(&handle, "a").await;
    board.fail("d");
    running(&handle, "d", 2).await;
    assert_eq!(status(&handle, "b"), "waiting for /a, which is held");
    assert_eq!(status(&handle, "c"), "waiting for /b, which is held");
    let state = handle.child_state("b").unwrap();
    assert_eq!(state.reason.as_deref(), Some("/a"));
    resume(&handle, "a").await;
    running(&handle, "c", 2).await;
    let log = board.log();
    assert_eq!(log[log.len() - 4..], ["+d2", "+a2", "+b2", "+c2"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn the_released_sibling_has_to_have_started() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_all("n")
        .child(board.explicit("a").backoff(None))
        .child(board.child("b").backoff(None).depends_on(["a"]))
        .child(board.child("d").backoff(None));
    board.ready("a");
    let handle = start(tree).await;
    pause(&handle, "a").await;
    board.fail("d");
    running(&handle, "d", 2).await;
    resume(&handle, "a").await;
    comes_to(&handle, "a", "starting").await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(status(&handle, "b"), "waiting for /a, which is held");
    board.ready("a");
    running(&handle, "b", 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_released_by_time_lets_those_start_that_need_it() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::rest_for_one("n")
        .child(
            board
                .child("a")
                .backoff(None)
                .fuse(0, secs(60))
                .quarantine_for(secs(30)),
        )
        .child(board.child("x").backoff(None))
        .child(board.child("b").backoff(None).depends_on(["a"]));
    let handle = start(tree).await;
    board.fail("a");
    comes_to(&handle, "a", "quarantined").await;
    board.fail("x");
    running(&handle, "x", 2).await;
    assert_eq!(status(&handle, "b"), "waiting for /a, which is held");
    tokio::time::sleep(secs(29)).await;
    assert_eq!(status(&handle, "b"), "waiting for /a, which is held");
    running(&handle, "b", 2).await;
    assert_eq!(board.log().last().unwrap(), "+b2");
    assert!(board.log().contains(&"+a2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_new_life_of_the_supervisor_starts_nobody_whose_sibling_is_held() {
    for strategy in [
        SupervisionStrategy::OneForOne,
        SupervisionStrategy::OneForAll,
        SupervisionStrategy::RestForOne,
    ] {
        let board = Switchboard::new();
        let tree = SupervisorSpec::one_for_one("t").supervisor(chain(&board, strategy));
        let handle = start(tree).await;
        pause(&handle, "n/a").await;
        within(handle.restart_child("n", &by())).await.unwrap();
        running(&handle, "n/d", 2).await;
        within(handle.wait_ready("n")).await.unwrap();
        assert_eq!(status(&handle, "n/b"), "waiting for /n/a, which is held");
        resume(&handle, "n/a").await;
        running(&handle, "n/c", 2).await;
        assert!(shut_down(&handle).await.clean, "{strategy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn commands_to_one_that_waits_for_a_held_sibling_are_answered() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::OneForAll)).await;
    pause(&handle, "a").await;
    board.fail("d");
    running(&handle, "d", 2).await;
    let error = within(handle.restart_child("b", &by())).await.unwrap_err();
    let SupervisorError::NotApplicable { status: why, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(why, "waiting for /a, which is held");
    assert!(within(handle.wait_ready("b")).await.is_err());
    pause(&handle, "b").await;
    resume(&handle, "a").await;
    running(&handle, "a", 2).await;
    assert_eq!(status(&handle, "b"), "paused");
    assert_eq!(status(&handle, "c"), "waiting for /b, which is held");
    within(handle.remove_child("c", &by())).await.unwrap();
    resume(&handle, "b").await;
    running(&handle, "b", 2).await;
    assert!(!board.log().contains(&"+c2".to_owned()));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_held_sibling_that_is_down_for_good_when_released_holds_up_nobody() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::OneForAll)).await;
    pause(&handle, "a").await;
    board.fail("d");
    running(&handle, "d", 2).await;
    board.fatal("a");
    resume(&handle, "a").await;
    comes_to(&handle, "a", "failed").await;
    running(&handle, "c", 2).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_some_wait_restarts_the_group_and_they_wait_on() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::OneForAll)).await;
    pause(&handle, "a").await;
    for generation in 2..5 {
        board.fail("d");
        running(&handle, "d", generation).await;
        assert_eq!(status(&handle, "b"), "waiting for /a, which is held");
    }
    let group_restarts = handle
        .current_state()
        .root
        .supervisor
        .map(|root| root.group_restarts);
    assert_eq!(group_restarts, Some(3));
    resume(&handle, "a").await;
    running(&handle, "c", 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_finds_those_that_wait() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::OneForAll)).await;
    pause(&handle, "a").await;
    board.fail("d");
    running(&handle, "d", 2).await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.reconcile.children, 4);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_used_again_make_no_circle() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a").temporary())
        .child(board.child("b").depends_on(["a"]));
    let handle = start(tree).await;
    board.complete("a");
    until(|| handle.child_state("a").is_err()).await;
    let again = board.child("a").depends_on(["b"]);
    let error = within(handle.add_child("/", again, &by()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_bounds_holds_up_a_new_life_for_its_start_timeout_only() {
    // Explicit, in a stack of its own without a watchdog: only its first run says that it is ready.
    let shy = rust_supervisor::service_fn(|ctx: TaskContext| async move {
        if ctx.generation() == 1 {
            ctx.mark_ready();
        }
        ctx.cancelled().await;
    });
    let board = Switchboard::new();
    let n = SupervisorSpec::one_for_one("n")
        .child(
            ChildSpec::new("shy", shy)
                .readiness(ReadinessPolicy::Explicit)
                .start_timeout(secs(7)),
        )
        .child(board.child("after").backoff(Backoff::constant(ms(1))));
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(n)).await;
    let began = tokio::time::Instant::now();
    within(handle.restart_child("n", &by())).await.unwrap();
    running(&handle, "n/after", 2).await;
    assert_eq!(began.elapsed(), secs(7));
}

#[tokio::test(start_paused = true)]
async fn the_restart_of_a_child_is_none_of_those_that_need_it() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::OneForOne)).await;
    board.fail("a");
    running(&handle, "a", 2).await;
    within(handle.restart_child("a", &by())).await.unwrap();
    running(&handle, "a", 3).await;
    tokio::time::sleep(secs(60)).await;
    let log = board.log();
    assert_eq!(log[log.len() - 4..], ["!a1", "+a2", "-a2", "+a3"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn under_rest_for_one_a_group_is_who_was_declared_after_whoever_needs_whom() {
    let board = Switchboard::new();
    let handle = start(chain(&board, SupervisionStrategy::RestForOne)).await;
    board.fail("c");
    running(&handle, "d", 2).await;
    assert_eq!(
        board.log()[4..],
        ["!c1", "-d1", "+c2", "+d2"],
        "d needs nobody"
    );
    board.fail("d");
    running(&handle, "d", 3).await;
    assert_eq!(board.log()[8..], ["!d2", "+d3"]);
    assert!(shut_down(&handle).await.clean);
}
