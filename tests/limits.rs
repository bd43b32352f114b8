//! Restart types, fuses, intensity, and what becomes of those who give up.

mod support;

use std::time::Duration;

use rust_supervisor::{
    AutoShutdown, ChildSpec, EscalationPolicy, ExitOutcome, NodeState, OnFuseBlown, RestartAction,
    StopCause, SupervisorError, SupervisorHandle, SupervisorSpec, TaskContext, TaskFailure, ms,
    secs,
};
use support::{Switchboard, by, comes_to, running, shut_down, start, until, within};

const MINUTE: Duration = Duration::from_secs(60);

fn state(handle: &SupervisorHandle, path: &str) -> NodeState {
    handle.child_state(path).unwrap()
}

fn status(handle: &SupervisorHandle, path: &str) -> &'static str {
    state(handle, path).status.as_str()
}

fn intensity_used(handle: &SupervisorHandle, path: &str) -> u32 {
    state(handle, path).supervisor.unwrap().intensity.used
}

/// Without fuse and backoff: what its supervisor's intensity is charged for.
fn plain(child: ChildSpec) -> ChildSpec {
    child.no_fuse().backoff(None)
}

/// Fails the child and waits for its next run.
async fn crash(board: &Switchboard, handle: &SupervisorHandle, path: &str) {
    let next = state(handle, path).generation + 1;
    board.fail(path.rsplit('/').next().unwrap());
    running(handle, path, next).await;
}

async fn outcome(handle: &SupervisorHandle) -> ExitOutcome {
    within(handle.join()).await.outcome
}

async fn gave_up(handle: &SupervisorHandle) -> String {
    match outcome(handle).await {
        ExitOutcome::GaveUp { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_down_for_good_runs_again_when_asked_to() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("done").transient())
        .child(board.child("fatal"));
    let handle = start(tree).await;
    board.complete("done");
    board.fatal("fatal");
    comes_to(&handle, "done", "finished").await;
    comes_to(&handle, "fatal", "failed").await;
    for path in ["done", "fatal"] {
        let outcome = within(handle.restart_child(path, &by())).await.unwrap();
        assert_eq!(outcome.generation, 2);
        comes_to(&handle, path, "running").await;
    }
    assert!(handle.health().is_healthy());
    // And is supervised as before.
    board.complete("done");
    comes_to(&handle, "done", "finished").await;
    crash(&board, &handle, "fatal").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_ends_the_supervisor_of_a_significant_child_alone() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.child("b").significant());
    let handle = start(tree).await;
    board.fatal("a");
    comes_to(&handle, "a", "failed").await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(status(&handle, "b"), "running");
    board.fatal("b");
    let reason = gave_up(&handle).await;
    assert!(
        reason.contains("/b") && reason.contains("no use"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn so_many_restarts_pass_and_one_more_ends_the_supervisor() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(3, MINUTE)
        .child(plain(board.child("a")))
        .child(plain(board.child("b")));
    let handle = start(tree).await;
    for path in ["a", "b", "a"] {
        crash(&board, &handle, path).await;
    }
    assert_eq!(intensity_used(&handle, "/"), 3);
    board.fail("b");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 3 restarts in 60s"), "{reason}");
    assert_eq!(board.log().last().unwrap(), "-a3", "the others are stopped");
}

#[tokio::test(start_paused = true)]
async fn thirty_restarts_in_a_minute_pass_unless_said_otherwise() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").child(plain(board.child("a")));
    let handle = start(tree).await;
    for _ in 0..30 {
        crash(&board, &handle, "a").await;
    }
    board.fail("a");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 30 restarts in 60s"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn restarts_outside_the_period_do_not_count() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(1, secs(10))
        .child(plain(board.child("a")));
    let handle = start(tree).await;
    for _ in 0..20 {
        crash(&board, &handle, "a").await;
        tokio::time::sleep(ms(10_001)).await;
    }
    assert_eq!(status(&handle, "a"), "running");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn an_intensity_of_none_lets_no_restart_pass() {
    type Make = fn(&'static str) -> SupervisorSpec;
    for make in [SupervisorSpec::one_for_one as Make, |id| {
        SupervisorSpec::one_for_all(id)
    }] {
        let board = Switchboard::new();
        let tree = make("t")
            .intensity(0, MINUTE)
            .child(plain(board.child("a")));
        let handle = start(tree).await;
        board.fail("a");
        gave_up(&handle).await;
        assert_eq!(board.log(), ["+a1", "!a1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fuse_of_its_own_spares_the_intensity_and_healthy_siblings_live_on() {
    let board = Switchboard::new();
    let crashing = |id: &str| {
        board.refuse(id, u32::MAX);
        ChildSpec::worker(id, |ctx: TaskContext| async move {
            tokio::task::yield_now().await;
            Err::<(), _>(format!("run {} crashes", ctx.generation()))
        })
    };
    let mut tree = SupervisorSpec::one_for_one("t")
        .intensity(1, MINUTE)
        .child(board.child("healthy"));
    for id in ["w", "x", "y", "z"] {
        tree = tree.child(crashing(id));
    }
    let handle = start(tree).await;
    for id in ["w", "x", "y", "z"] {
        comes_to(&handle, id, "quarantined").await;
        let child = state(&handle, id);
        assert_eq!(child.generation, 11, "ten restarts pass");
        assert!(child.reason.unwrap().contains("more than 10 in 60s"));
    }
    assert_eq!(intensity_used(&handle, "/"), 0);
    assert_eq!(state(&handle, "healthy").generation, 1);
    assert_eq!(handle.health().degraded.len(), 4);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_group_restart_is_charged_once_even_with_fuses() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_all("t")
        .intensity(2, MINUTE)
        .child(board.child("a").backoff(None))
        .child(board.child("b").backoff(None))
        .child(board.child("c").backoff(None));
    let handle = start(tree).await;
    for run in 2..=3 {
        board.fail("b");
        running(&handle, "c", run).await;
        assert_eq!(
            intensity_used(&handle, "/"),
            u32::try_from(run).unwrap() - 1
        );
    }
    board.fail("a");
    gave_up(&handle).await;
}

#[tokio::test(start_paused = true)]
async fn failed_starts_in_a_group_end_the_supervisor_that_allows_no_more() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::rest_for_one("t")
        .intensity(3, MINUTE)
        .child(plain(board.child("a")))
        .child(plain(board.child("b")));
    let handle = start(tree).await;
    board.refuse("b", 10);
    board.fail("a");
    gave_up(&handle).await;
    let log = board.log();
    let tries = log.iter().filter(|entry| entry.starts_with("!b")).count();
    assert_eq!(tries, 3, "the group restart and two retries: {log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_blown_fuse_does_what_it_was_set_to() {
    for what in [
        OnFuseBlown::Quarantine,
        OnFuseBlown::Stop,
        OnFuseBlown::Escalate,
    ] {
        let board = Switchboard::new();
        let tree = SupervisorSpec::one_for_one("t")
            .child(board.child("other"))
            .child(
                board
                    .child("a")
                    .fuse(2, MINUTE)
                    .backoff(None)
                    .on_fuse_blown(what),
            );
        let handle = start(tree).await;
        crash(&board, &handle, "a").await;
        crash(&board, &handle, "a").await;
        board.fail("a");
        match what {
            OnFuseBlown::Escalate => {
                let reason = gave_up(&handle).await;
                assert!(reason.contains("/a"), "{reason}");
                continue;
            }
            OnFuseBlown::Quarantine => comes_to(&handle, "a", "quarantined").await,
            OnFuseBlown::Stop => comes_to(&handle, "a", "failed").await,
        }
        assert!(!handle.health().is_healthy());
        assert_eq!(state(&handle, "a").generation, 3);
        match what {
            OnFuseBlown::Quarantine => within(handle.resume_child("a", &by())).await,
            _ => within(handle.restart_child("a", &by())).await,
        }
        .unwrap();
        running(&handle, "a", 4).await;
        // Its fuse is as new.
        crash(&board, &handle, "a").await;
        assert_eq!(state(&handle, "other").generation, 1);
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_with_an_end_releases_by_itself() {
    let board = Switchboard::new();
    let child = board.child("a").fuse(0, MINUTE).quarantine_for(secs(30));
    let handle = start(SupervisorSpec::one_for_one("t").child(child)).await;
    let began = tokio::time::Instant::now();
    board.fail("a");
    comes_to(&handle, "a", "quarantined").await;
    assert!(state(&handle, "a").remaining.is_some());
    running(&handle, "a", 2).await;
    assert_eq!(began.elapsed(), secs(30));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_gives_up_is_restarted_by_its_parent_until_that_gives_up_too() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .intensity(0, MINUTE)
        .child(plain(board.child("a")))
        .child(board.child("b"));
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(2, MINUTE)
        .child(board.child("outside"))
        .supervisor(inner);
    let handle = start(tree).await;
    for run in 2..=3 {
        board.fail("a");
        running(&handle, "n", run).await;
        assert_eq!(
            intensity_used(&handle, "/"),
            u32::try_from(run).unwrap() - 1
        );
        assert_eq!(intensity_used(&handle, "n"), 0, "a new life counts anew");
        assert_eq!(state(&handle, "n/b").generation, run);
    }
    let last = state(&handle, "n").last_exit.unwrap().message.unwrap();
    assert!(last.contains("/n gave up: intensity exceeded"), "{last}");
    board.fail("a");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 2 restarts"), "{reason}");
    assert!(!board.log().contains(&"+outside2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn giving_up_may_shut_down_the_whole_tree() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .intensity(0, MINUTE)
        .escalation(EscalationPolicy::ShutdownTree)
        .child(plain(board.child("a")));
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("first"))
        .supervisor(inner);
    let handle = start(tree).await;
    board.fail("a");
    let report = within(handle.join()).await;
    assert!(report.shutdown.unwrap().clean);
    let ExitOutcome::GaveUp { reason } = report.outcome else {
        panic!("{:?}", report.outcome)
    };
    assert!(reason.contains("/n gave up"), "{reason}");
    assert_eq!(board.log()[2..], ["!a1", "-first1"]);
}

#[tokio::test(start_paused = true)]
async fn giving_up_may_hold_the_supervisor_until_it_is_released() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_all("n")
        .intensity(1, MINUTE)
        .escalation(EscalationPolicy::QuarantineScope)
        .child(plain(board.child("a")))
        .child(board.child("b"));
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, MINUTE)
        .child(board.child("outside"))
        .supervisor(inner);
    let handle = start(tree).await;
    crash(&board, &handle, "n/a").await;
    board.fail("a");
    comes_to(&handle, "n", "quarantined").await;
    let reason = state(&handle, "n").reason.unwrap();
    assert!(reason.contains("intensity exceeded"), "{reason}");
    assert!(!handle.health().is_healthy());
    assert_eq!(status(&handle, "outside"), "running");
    let error = within(handle.add_child("n", board.child("c"), &by()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotApplicable { .. }),
        "{error}"
    );

    // A start that fails once it is released counts again, and holds it again.
    board.refuse("a", 10);
    within(handle.resume_child("n", &by())).await.unwrap();
    comes_to(&handle, "n", "quarantined").await;
    assert_eq!(state(&handle, "n").generation, 2);

    board.refuse("a", 0);
    within(handle.resume_child("n", &by())).await.unwrap();
    running(&handle, "n", 3).await;
    assert!(handle.health().is_healthy());
    assert_eq!(intensity_used(&handle, "/"), 0);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn the_root_may_be_held_and_released_too() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, MINUTE)
        .escalation(EscalationPolicy::QuarantineScope)
        .child(plain(board.child("a")));
    let handle = start(tree).await;
    board.fail("a");
    comes_to(&handle, "/", "quarantined").await;
    assert!(handle.is_alive());
    assert!(!handle.health().is_healthy());
    within(handle.resume_child("/", &by())).await.unwrap();
    running(&handle, "/", 2).await;
    assert!(handle.health().is_healthy());
    board.fail("a");
    comes_to(&handle, "/", "quarantined").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_transient_supervisor_that_gives_up_has_not_finished() {
    use rust_supervisor::{ChildPolicy, RestartType};
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .policy(ChildPolicy::bare(RestartType::Transient))
        .intensity(0, MINUTE)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(plain(board.child("a")))
        .child(board.child("job").transient().significant());
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    board.fail("a");
    running(&handle, "n", 2).await;
    board.complete("job");
    comes_to(&handle, "n", "finished").await;
    assert!(handle.health().is_healthy());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_asks_for_own_ends_of_significant_children() {
    for (policy, needed) in [
        (AutoShutdown::AnySignificant, 1),
        (AutoShutdown::AllSignificant, 2),
    ] {
        let board = Switchboard::new();
        let tree = SupervisorSpec::one_for_one("t")
            .auto_shutdown(policy)
            .child(board.child("a").transient().significant())
            .child(board.child("b").temporary().significant())
            .child(board.child("c").transient())
            .child(board.child("d").significant());
        let tree = match policy {
            AutoShutdown::AllSignificant => tree,
            _ => tree.child(board.child("e").transient().significant()),
        };
        let handle = start(tree).await;
        // Neither of these is an own end of a significant child.
        board.complete("c");
        comes_to(&handle, "c", "finished").await;
        crash(&board, &handle, "a").await;
        within(handle.pause_child("a", &by())).await.unwrap();
        within(handle.resume_child("a", &by())).await.unwrap();
        running(&handle, "a", 3).await;
        within(handle.restart_child("a", &by())).await.unwrap();
        within(handle.remove_child("d", &by())).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        assert!(handle.is_alive());

        board.complete("b");
        if needed == 2 {
            until(|| handle.child_state("b").is_err()).await;
            tokio::time::sleep(MINUTE).await;
            assert!(handle.is_alive());
            board.complete("a");
        }
        assert_eq!(outcome(&handle).await, ExitOutcome::Finished);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bare_significant_child_that_is_stopped_by_hand_has_not_ended_by_itself() {
    use rust_supervisor::service_fn;
    let run = |ctx: TaskContext| async move {
        ctx.cancelled().await;
        Err::<(), _>(TaskFailure::fatal("interrupted"))
    };
    let tree = SupervisorSpec::one_for_one("t")
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(ChildSpec::new("a", service_fn(run)).significant());
    let handle = start(tree).await;
    within(handle.restart_child("a", &by())).await.unwrap();
    within(handle.pause_child("a", &by())).await.unwrap();
    within(handle.resume_child("a", &by())).await.unwrap();
    running(&handle, "a", 3).await;
    assert!(handle.is_alive());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_released_while_its_children_stop_runs_again() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, MINUTE)
        .escalation(EscalationPolicy::QuarantineScope)
        .child(plain(board.child("a")))
        .child(support::deaf("b").grace(secs(5)));
    let handle = start(tree).await;
    board.fail("a");
    comes_to(&handle, "b", "stopping").await;
    within(handle.resume_child("/", &by())).await.unwrap();
    running(&handle, "/", 2).await;
    assert!(handle.is_alive());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_shuts_the_tree_down_is_no_failure_to_its_parent() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .intensity(0, MINUTE)
        .escalation(EscalationPolicy::ShutdownTree)
        .child(plain(board.child("a")));
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, MINUTE)
        .supervisor(inner)
        .child(board.child("b"))
        .child(board.child("c"));
    let handle = start(tree).await;
    board.fail("a");
    within(handle.join()).await;
    let exit = state(&handle, "n").last_exit.unwrap();
    let decision = exit.decision.unwrap().action;
    let cause = StopCause::Shutdown;
    assert_eq!(decision, RestartAction::Stop { cause });
    assert_eq!(intensity_used(&handle, "/"), 0);
}
