//! The four stages of a shutdown, and that the report says what was there.

mod support;

use std::{future::pending, time::Duration};

use rust_supervisor::{
    Backoff, ChildShutdownStatus, ChildSpec, EscalationPolicy, EventKind, Jitter, ReadinessPolicy,
    ShutdownResult, ShutdownStage, StopCause, Supervisor, SupervisorError, SupervisorPath,
    SupervisorSpec, TaskContext, TreeEvent, ms, secs, service_fn,
    spec::ShutdownOrder,
    test_util::{Script, TestTree, by},
};
use support::{Switchboard, deaf, shut_down, status, until, within};
use tokio::time::Instant;

fn took(result: &ShutdownResult, path: &str) -> Duration {
    let path = SupervisorPath::from(path);
    let child = result.report.children.iter().find(|c| c.path == path);
    child.unwrap_or_else(|| panic!("no {path}")).took
}

/// Takes this long to end after it was asked to.
fn slow(id: &str, time: Duration) -> ChildSpec {
    ChildSpec::worker(id, Script::new().then_runs().stops_after(time).task())
}

#[tokio::test(start_paused = true)]
async fn in_reverse_order_each_end_is_awaited_before_the_next_is_asked() {
    let spec = SupervisorSpec::one_for_one("t")
        .child(slow("a", secs(1)))
        .child(slow("b", secs(2)))
        .supervisor(
            SupervisorSpec::one_for_one("n")
                .child(slow("x", secs(1)))
                .child(slow("y", secs(2))),
        );
    let tree = TestTree::start(spec).await;
    let result = tree.shutdown_clean().await;
    let ends: Vec<_> = result
        .report
        .children
        .iter()
        .map(|child| (child.path.as_str(), child.took.as_secs()))
        .collect();
    assert_eq!(
        ends,
        [("/n/y", 2), ("/n/x", 1), ("/n", 3), ("/b", 2), ("/a", 1)]
    );
    assert_eq!(result.report.took, secs(6));
    assert_eq!(
        result.report.counts(),
        [(ChildShutdownStatus::Graceful, 5)].into()
    );
    assert!(!result.report.timed_out);
    assert_eq!(result.report.requested, Some(by()));
    assert_eq!(result.report.reconcile.children, 5);
}

#[tokio::test(start_paused = true)]
async fn in_parallel_order_all_are_asked_at_once() {
    let spec = SupervisorSpec::one_for_one("t")
        .shutdown_order(ShutdownOrder::Parallel)
        .child(slow("a", secs(3)))
        .child(slow("b", secs(1)))
        .child(slow("c", secs(2)));
    let tree = TestTree::start(spec).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(result.report.took, secs(3));
    let ends: Vec<_> = result
        .report
        .children
        .iter()
        .map(|child| (child.path.as_str(), child.took.as_secs()))
        .collect();
    assert_eq!(ends, [("/b", 1), ("/c", 2), ("/a", 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_deaf_child_is_aborted_at_its_grace_and_not_before() {
    let spec = SupervisorSpec::one_for_one("t")
        .child(deaf("a").grace(secs(7)))
        .child(slow("b", ms(6999)).grace(secs(7)))
        .shutdown_order(ShutdownOrder::Parallel);
    let tree = TestTree::start(spec).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(status(&result, "a"), ChildShutdownStatus::Aborted);
    assert_eq!(status(&result, "b"), ChildShutdownStatus::Graceful);
    assert_eq!(result.report.took, secs(7));
    assert!(result.clean, "an aborted task is gone: {result}");
}

#[tokio::test(start_paused = true)]
async fn a_bare_stack_that_is_deaf_is_aborted_at_its_supervisors_grace() {
    let bare = ChildSpec::new("a", service_fn(|_: TaskContext| pending::<()>()));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").grace(secs(3)).child(bare)).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(status(&result, "a"), ChildShutdownStatus::Aborted);
    assert_eq!(result.report.took, secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_stop_may_be_extended_up_to_the_budget_of_the_tree() {
    let extending = |id: &str, work: Duration| {
        ChildSpec::worker(id, move |ctx: TaskContext| async move {
            ctx.cancelled().await;
            ctx.extend_stop(work + secs(1));
            tokio::time::sleep(work).await;
        })
        .grace(secs(2))
    };
    let spec = SupervisorSpec::one_for_one("t")
        .child(extending("a", secs(3600)))
        .child(extending("b", secs(8)))
        .total_timeout(secs(20));
    let tree = TestTree::start(spec).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(status(&result, "b"), ChildShutdownStatus::Graceful);
    assert_eq!(took(&result, "b"), secs(8));
    assert_eq!(status(&result, "a"), ChildShutdownStatus::Aborted);
    assert_eq!(result.report.took, secs(20));
    assert!(result.report.timed_out);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_tree_and_what_is_left_is_aborted_together() {
    let mut spec = SupervisorSpec::one_for_one("t").total_timeout(secs(10));
    for at in 0..20 {
        spec = spec.child(deaf(&format!("c{at}")).grace(secs(4)));
    }
    let mut nested = SupervisorSpec::one_for_one("n");
    for at in 0..20 {
        nested = nested.child(deaf(&format!("c{at}")).grace(secs(4)));
    }
    let tree = TestTree::start(spec.supervisor(nested)).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(result.report.took, secs(10));
    assert_eq!(result.report.children.len(), 41);
    let counts = result.report.counts();
    assert_eq!(counts[&ChildShutdownStatus::Aborted], 40, "{result}");
    assert!(result.report.timed_out);
}

#[tokio::test(start_paused = true)]
async fn children_without_a_run_have_already_exited() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("paused"))
        .child(board.child("quarantined"))
        .child(
            board
                .child("backing")
                .backoff(Backoff::constant(secs(60)).jitter(Jitter::None)),
        )
        .child(ChildSpec::job("finished", |_| async {}))
        .child(board.child("fatal"))
        .child(board.child("alive"));
    let tree = TestTree::start(spec).await;
    tree.pause_child("paused", &by()).await.unwrap();
    tree.quarantine_child("quarantined", &by()).await.unwrap();
    board.fail("backing");
    board.fatal("fatal");
    tree.until(|| {
        tree.child_state("backing").unwrap().status.as_str() == "backing_off"
            && tree.child_state("fatal").unwrap().status.as_str() == "failed"
    })
    .await;
    let result = tree.shutdown_clean().await;
    for id in ["paused", "quarantined", "backing", "finished", "fatal"] {
        assert_eq!(
            status(&result, id),
            ChildShutdownStatus::AlreadyExited,
            "{id}"
        );
    }
    assert_eq!(status(&result, "alive"), ChildShutdownStatus::Graceful);
    assert_eq!(result.report.took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn held_and_backing_off_children_end_before_the_first_run_is_waited_for() {
    let board = Switchboard::new();
    let backing = board.child("backing").backoff(Backoff::constant(secs(600)));
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("held"))
        .supervisor(SupervisorSpec::one_for_one("n").child(backing))
        .child(slow("late", secs(4)));
    let tree = TestTree::start(spec).await;
    tree.pause_child("held", &by()).await.unwrap();
    board.fail("backing");
    tree.until_status("n/backing", "backing_off").await;
    let asking = tokio::spawn({
        let tree = tree.clone();
        async move { shut_down(&tree).await }
    });
    let stopping = EventKind::Tree(TreeEvent::ShutdownStageEntered {
        stage: ShutdownStage::GracefulDrain,
    });
    tree.until_event(|event| event.kind == stopping).await;
    tree.until_status("n/backing", "finished").await;
    assert_eq!(
        tree.child_state("late").unwrap().status.as_str(),
        "stopping"
    );
    let result = asking.await.unwrap();
    assert_eq!(
        status(&result, "n/backing"),
        ChildShutdownStatus::AlreadyExited
    );
    assert_eq!(status(&result, "held"), ChildShutdownStatus::AlreadyExited);
    assert_eq!(result.report.took, secs(4));
}

#[tokio::test(start_paused = true)]
async fn so_they_do_when_the_root_was_stopping_its_children_already() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_all("t")
        .intensity(0, secs(1))
        .escalation(EscalationPolicy::QuarantineScope)
        .child(board.child("a"))
        .child(deaf("b").grace(secs(5)));
    let handle = TestTree::start(tree).await;
    board.fail("a");
    until(|| handle.child_state("b").unwrap().status.as_str() == "stopping").await;
    let asking = tokio::spawn({
        let handle = handle.clone();
        async move { shut_down(&handle).await }
    });
    until(|| handle.child_state("a").unwrap().status.as_str() == "finished").await;
    let b = handle.child_state("b").unwrap();
    assert_eq!(b.status.as_str(), "stopping");
    assert!(asking.await.unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn children_of_a_supervisor_that_is_down_are_accounted_for() {
    let board = Switchboard::new();
    let nested = SupervisorSpec::one_for_one("n")
        .intensity(0, secs(60))
        .child(board.child("x").no_fuse())
        .child(board.child("y"))
        .escalation(rust_supervisor::EscalationPolicy::QuarantineScope);
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(nested)).await;
    board.fail("x");
    tree.until_status("n", "quarantined").await;
    let result = tree.shutdown_clean().await;
    for path in ["n", "n/x", "n/y"] {
        assert_eq!(
            status(&result, path),
            ChildShutdownStatus::AlreadyExited,
            "{path}"
        );
    }
    assert_eq!(result.report.reconcile.children, 3);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_while_later_ones_stop_does_not_run_again() {
    let board = Switchboard::new();
    for spec in [
        SupervisorSpec::one_for_one("t"),
        SupervisorSpec::one_for_all("t"),
        SupervisorSpec::rest_for_one("t"),
    ] {
        let tree = TestTree::start(
            spec.child(board.child("a").backoff(None))
                .child(slow("b", secs(2))),
        )
        .await;
        let began = board.log().len();
        let asking = tokio::spawn({
            let tree = tree.clone();
            async move { shut_down(&tree).await }
        });
        tree.until_status("b", "stopping").await;
        board.fail("a");
        let result = asking.await.unwrap();
        assert_eq!(board.log()[began..], ["!a1"]);
        assert_eq!(status(&result, "a"), ChildShutdownStatus::AlreadyExited);
        assert_eq!(result.report.took, secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_during_a_shutdown_stops_no_sibling_before_its_turn() {
    let board = Switchboard::new();
    let group = SupervisorSpec::one_for_all("n")
        .child(board.child("a").backoff(None))
        .child(board.child("b"));
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(group)
        .child(slow("late", secs(2)));
    let handle = TestTree::start(tree).await;
    let asking = tokio::spawn({
        let handle = handle.clone();
        async move { shut_down(&handle).await }
    });
    until(|| handle.child_state("late").unwrap().status.as_str() == "stopping").await;
    board.fail("a");
    until(|| handle.child_state("n/a").unwrap().status.as_str() == "finished").await;
    let b = handle.child_state("n/b").unwrap();
    assert_eq!(b.status.as_str(), "running");
    assert!(asking.await.unwrap().clean);
    let n = handle.child_state("n").unwrap().supervisor.unwrap();
    assert_eq!((n.group_restarts, n.intensity.used), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_starts_again_as_the_tree_shuts_down_does_not_become_ready() {
    let board = Switchboard::new();
    board.ready("x");
    let again = SupervisorSpec::one_for_one("n").child(board.explicit("x"));
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(again)
        .child(slow("late", secs(2)));
    let handle = TestTree::start(tree).await;
    let restarting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.restart_child("n", &by()).await }
    });
    until(|| handle.child_state("n/x").unwrap().generation == 2).await;
    let asking = tokio::spawn({
        let handle = handle.clone();
        async move { shut_down(&handle).await }
    });
    until(|| handle.child_state("late").unwrap().status.as_str() == "stopping").await;
    board.fatal("x");
    until(|| handle.child_state("n/x").unwrap().status.as_str() == "failed").await;
    assert!(!handle.child_state("n").unwrap().ready);
    assert!(asking.await.unwrap().clean);
    assert!(restarting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_group_restart_begins_no_run() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a").backoff(None))
        .child(slow("b", secs(2)));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_status("b", "stopping").await;
    assert_eq!(
        tree.child_state("b").unwrap().reason.as_deref(),
        Some("sibling")
    );
    let result = tree.shutdown_clean().await;
    assert_eq!(board.log(), ["+a1", "!a1"]);
    assert_eq!(status(&result, "b"), ChildShutdownStatus::Graceful);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_command_ends_both() {
    let spec = SupervisorSpec::one_for_one("t").child(slow("a", secs(2)));
    let tree = TestTree::start(spec).await;
    let restarting = tokio::spawn({
        let tree = tree.clone();
        async move { within(tree.restart_child("a", &by())).await }
    });
    tree.until_status("a", "stopping").await;
    let starting = Script::new().then_runs().never_ready();
    let starting = ChildSpec::worker("b", starting.task()).readiness(ReadinessPolicy::Explicit);
    let adding = tokio::spawn({
        let tree = tree.clone();
        async move { within(tree.add_child("/", starting, &by())).await }
    });
    tree.until(|| tree.child_state("b").is_ok_and(|b| b.generation == 1))
        .await;
    let result = tree.shutdown_clean().await;
    assert!(restarting.await.unwrap().is_err());
    assert!(adding.await.unwrap().is_err());
    assert_eq!(status(&result, "a"), ChildShutdownStatus::Graceful);
    assert_eq!(status(&result, "b"), ChildShutdownStatus::Graceful);
    assert_eq!(tree.child_state("a").unwrap().generation, 1);
    assert_eq!(
        tree.pause_child("a", &by()).await,
        Err(SupervisorError::ShuttingDown)
    );
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_meets_the_shutdown_is_accounted_for_once() {
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(slow("a", secs(2)))).await;
    let removing = tokio::spawn({
        let tree = tree.clone();
        async move { within(tree.remove_child("a", &by())).await }
    });
    tree.until_status("a", "stopping").await;
    let result = tree.shutdown_clean().await;
    assert_eq!(status(&result, "a"), ChildShutdownStatus::Graceful);
    let _ = removing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_the_start_stops_what_has_started() {
    let board = Switchboard::new();
    let token = tokio_util::sync::CancellationToken::new();
    let never_ready = Script::new().then_runs().never_ready();
    let never_ready =
        ChildSpec::worker("b", never_ready.task()).readiness(ReadinessPolicy::Explicit);
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(never_ready)
        .child(board.child("c"))
        .cancel_on(token.clone());
    let starting = tokio::spawn(within(Supervisor::start(spec)));
    until(|| board.log() == ["+a1"]).await;
    token.cancel();
    let error = starting.await.unwrap().unwrap_err();
    assert_eq!(error, SupervisorError::StartStopped);
    assert_eq!(board.log(), ["+a1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_get_the_same_result_at_whatever_time() {
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(slow("a", secs(1)))).await;
    let (one, two) = tokio::join!(shut_down(&tree), shut_down(&tree));
    assert_eq!(one, two);
    tokio::time::advance(secs(100)).await;
    assert_eq!(shut_down(&tree).await, one);
    let report = within(tree.join()).await;
    assert_eq!(report.shutdown, Some(one));
    assert_eq!(within(tree.join()).await, report);
}

#[tokio::test(start_paused = true)]
async fn stages_and_ends_are_told_in_order() {
    let spec = SupervisorSpec::one_for_one("t")
        .child(slow("a", secs(1)))
        .child(deaf("b"));
    let tree = TestTree::start(spec).await;
    let mut events = tree.subscribe_events();
    tree.shutdown_clean().await;
    let mut told = Vec::new();
    while let Some(item) = within(events.next()).await {
        let event = item.event().expect("no gap");
        match event.kind {
            EventKind::Tree(TreeEvent::ShutdownStageEntered { stage }) => {
                told.push(format!("{stage:?}"));
            }
            EventKind::Tree(TreeEvent::ChildShutdown { status }) => {
                told.push(format!("{} {status:?}", event.path));
            }
            EventKind::Tree(TreeEvent::ShutdownCompleted { clean }) => {
                told.push(format!("clean {clean}"));
            }
            _ => {}
        }
    }
    assert_eq!(
        told,
        [
            "RequestStop",
            "GracefulDrain",
            "/b Aborted",
            "/a Graceful",
            "Reconcile",
            "clean true"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_of_the_report_names_the_event_that_tells_it() {
    let helped = ChildSpec::worker("helped", |ctx: TaskContext| async move {
        ctx.spawn(pending::<()>());
        ctx.cancelled().await;
    });
    let failing = ChildSpec::worker("failing", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        Err::<(), _>("too late")
    });
    let spec = SupervisorSpec::one_for_one("t")
        .shutdown_order(ShutdownOrder::Parallel)
        .child(slow("a", secs(2)))
        .child(deaf("b"))
        .child(slow("c", secs(1)))
        .child(slow("held", secs(1)))
        .child(helped)
        .child(failing)
        .supervisor(SupervisorSpec::one_for_one("n").child(slow("x", secs(1))));
    let tree = TestTree::start(spec).await;
    within(tree.pause_child("held", &by())).await.unwrap();
    let mut events = tree.subscribe_events();
    let result = tree.shutdown_clean().await;
    let mut told = Vec::new();
    while let Some(item) = within(events.next()).await {
        let event = item.event().expect("no gap");
        if let EventKind::Tree(TreeEvent::ChildShutdown { status }) = event.kind {
            assert_eq!((event.attempt, event.correlation_id.is_some()), (0, true));
            told.push((event.path, event.generation, status, event.sequence));
        }
    }
    let rows = result.report.children.iter();
    let rows: Vec<_> = rows
        .map(|row| (row.path.clone(), row.generation, row.status, row.sequence))
        .collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows, told);
}

#[tokio::test(start_paused = true)]
async fn two_thousand_children_stop_and_are_all_counted() {
    let mut spec = SupervisorSpec::one_for_one("t").event_channel_capacity(100_000);
    for at in 0..2000 {
        spec = spec.child(slow(&format!("c{at}"), Duration::ZERO));
    }
    let tree = TestTree::start(spec).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(
        result.report.counts(),
        [(ChildShutdownStatus::Graceful, 2000)].into()
    );
    assert_eq!(result.report.reconcile.children, 2000);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_ran_again_measures_its_childrens_stop_anew() {
    let board = Switchboard::new();
    let nested = SupervisorSpec::one_for_one("n")
        .intensity(0, secs(60))
        .child(board.child("x").no_fuse())
        .child(slow("y", secs(1)));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(nested)).await;
    board.fail("x");
    tree.until_running("n", 2).await;
    tokio::time::advance(secs(100)).await;
    let result = tree.shutdown_clean().await;
    assert_eq!(took(&result, "n/y"), secs(1));
    assert_eq!(status(&result, "n/x"), ChildShutdownStatus::Graceful);
}

#[tokio::test(start_paused = true)]
async fn a_run_sees_why_and_until_when_it_is_to_stop() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let child = ChildSpec::worker("a", move |ctx: TaskContext| {
        let tell = tell.clone();
        async move {
            ctx.cancelled().await;
            let left = ctx.stop_deadline().map(|at| at - Instant::now());
            tell.send((ctx.stop_cause(), left)).unwrap();
        }
    });
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child.grace(secs(9)))).await;
    tree.shutdown_clean().await;
    let (cause, left) = within(told.recv()).await.unwrap();
    assert_eq!((cause, left), (Some(StopCause::Shutdown), Some(secs(9))));
}

#[tokio::test(start_paused = true)]
async fn a_tree_has_thirty_seconds_unless_said_otherwise() {
    let slow = |id| deaf(id).grace(secs(20));
    let tree = SupervisorSpec::one_for_one("t")
        .child(slow("a"))
        .child(slow("b"))
        .child(slow("c"));
    let handle = TestTree::start(tree).await;
    let began = Instant::now();
    let result = shut_down(&handle).await;
    assert_eq!(began.elapsed(), secs(30));
    assert!(result.report.timed_out && result.clean, "{result}");
}

/// With more threads than there are processors, so that some stand still where it matters.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn whoever_ends_last_is_in_the_report() {
    const CHILDREN: usize = 3;
    let idle = |id| ChildSpec::worker(id, async |ctx: TaskContext| ctx.cancelled().await);
    let mut shutdowns = tokio::task::JoinSet::new();
    for at in 0..8_000 {
        let order = match at % 2 {
            0 => ShutdownOrder::Reverse,
            _ => ShutdownOrder::Parallel,
        };
        let tree = SupervisorSpec::one_for_one("t").shutdown_order(order);
        let names = (0..CHILDREN).map(|n| format!("c{n}"));
        let tree = names.fold(tree, |tree, id| tree.child(idle(id)));
        shutdowns.spawn(async move { shut_down(&support::start(tree).await).await });
        if shutdowns.len() > 16 {
            let result = shutdowns.join_next().await.unwrap().unwrap();
            assert_eq!(result.report.children.len(), CHILDREN, "{result}");
        }
    }
}
