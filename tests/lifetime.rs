//! How long a tree lives, and that nothing of it is left afterwards.

mod support;

use std::{
    future::pending,
    sync::{Arc, mpsc},
    time::Duration,
};

use rust_supervisor::{
    AutoShutdown, ChildSpec, ControlPlane, ExitOutcome, ReadinessPolicy, SupervisedTask,
    Supervisor, SupervisorError, SupervisorSpec, TaskContext, TaskExit, TaskResult,
    WeakSupervisorHandle, ms, secs, service_fn,
};
use support::{Switchboard, by, deaf, event, running, shut_down, start, until, within};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// A child of each sort, each holding on to `held` by its closure and by its run.
fn of_all_sorts(name: &str, held: &Arc<()>) -> SupervisorSpec {
    let working = |held: Arc<()>| {
        move |ctx: TaskContext| {
            let (held, kept) = (held.clone(), ctx.clone());
            ctx.spawn(async move {
                let _held = (held.clone(), kept);
                pending::<()>().await;
            });
            async move { ctx.cancelled().await }
        }
    };
    let bare = working(held.clone());
    let bare = service_fn(bare);
    SupervisorSpec::one_for_one(name)
        .child(ChildSpec::worker("worker", working(held.clone())))
        .child(ChildSpec::job("failing", {
            let held = held.clone();
            move |ctx: TaskContext| {
                let held = held.clone();
                async move {
                    ctx.cancelled().await;
                    Err::<(), _>(format!("{held:?}"))
                }
            }
        }))
        .child(ChildSpec::new("bare", bare.clone()))
        .child(ChildSpec::service("service", bare))
        .child(deaf("deaf").grace(secs(1)))
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_everything() {
    let before = alive_tasks();
    let held = Arc::new(());
    let tree = of_all_sorts("t", &held).supervisor(of_all_sorts("n", &held));
    let handle = start(tree).await;
    let clone = handle.clone();
    let weak = handle.downgrade();
    drop(handle);
    tokio::time::sleep(secs(1)).await;
    assert!(clone.is_alive(), "a clone keeps the tree alive");
    assert!(alive_tasks() > before + 10);
    drop(clone);
    assert!(weak.upgrade().is_none(), "a weak handle does not");
    until(|| alive_tasks() == before).await;
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_no_task_and_nothing_captured() {
    let before = alive_tasks();
    let held = Arc::new(());
    let tree = of_all_sorts("t", &held).supervisor(of_all_sorts("n", &held));
    let handle = start(tree.cancel_on(CancellationToken::new())).await;
    let events = handle.subscribe_events();
    assert!(shut_down(&handle).await.clean);
    until(|| alive_tasks() == before).await;
    drop(handle);
    assert_eq!(Arc::strong_count(&held), 1);
    drop(events);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_leaves_nothing() {
    let before = alive_tasks();
    let held = Arc::new(());
    let failing = ChildSpec::worker("bad", |_: TaskContext| async { Err::<(), _>("no") });
    let tree = of_all_sorts("t", &held)
        .supervisor(of_all_sorts("n", &held))
        .child(failing);
    let error = within(Supervisor::start(tree)).await.unwrap_err();
    assert!(
        matches!(error, SupervisorError::StartFailed { .. }),
        "{error}"
    );
    until(|| alive_tasks() == before).await;
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_dropped_leaves_nothing() {
    let before = alive_tasks();
    let held = Arc::new(());
    let never = ChildSpec::worker("never", |_: TaskContext| pending::<()>())
        .readiness(rust_supervisor::ReadinessPolicy::Explicit);
    let tree = of_all_sorts("t", &held).child(never);
    let started = tokio::time::timeout(secs(2), Supervisor::start(tree)).await;
    assert!(started.is_err());
    until(|| alive_tasks() == before).await;
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn removed_children_and_former_lives_leave_nothing() {
    let held = Arc::new(());
    let board = Switchboard::new();
    let nested = of_all_sorts("n", &held)
        .intensity(0, secs(60))
        .child(board.child("x").no_fuse());
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(nested)).await;
    for round in 2..5 {
        board.fail("x");
        running(&handle, "n", round).await;
    }
    let before = Arc::strong_count(&held);
    for _ in 0..3 {
        let more = held.clone();
        let extra = ChildSpec::worker("extra", move |ctx: TaskContext| {
            let more = more.clone();
            async move {
                ctx.cancelled().await;
                drop(more);
            }
        });
        within(handle.add_child("n", extra, &by())).await.unwrap();
        within(handle.remove_child("n/extra", &by())).await.unwrap();
    }
    until(|| Arc::strong_count(&held) == before).await;
    drop(handle);
    until(|| Arc::strong_count(&held) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lingering_child_is_forgotten_when_it_ends() {
    let held = Arc::new(());
    let (release, blocks) = mpsc::channel::<()>();
    let parts = std::sync::Mutex::new((blocks, held.clone()));
    let (begun, begins) = mpsc::channel();
    let stuck = ChildSpec::blocking("stuck", move |_: TaskContext| {
        begun.send(()).unwrap();
        let _ = parts.lock().unwrap().0.recv();
    });
    let tree = SupervisorSpec::one_for_one("t").abort_wait(ms(10));
    let handle = start(tree.child(stuck.grace(ms(10)))).await;
    begins.recv().unwrap();
    within(handle.remove_child("stuck", &by())).await.unwrap();
    assert!(!shut_down(&handle).await.clean);
    drop(handle);
    drop(release);
    until(|| Arc::strong_count(&held) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_token_shuts_the_tree_down() {
    let token = CancellationToken::new();
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").child(board.child("a"));
    let handle = start(tree.cancel_on(token.clone())).await;
    token.cancel();
    let report = within(handle.join()).await;
    assert_eq!(report.outcome, ExitOutcome::ShutDown);
    assert_eq!(board.log(), ["+a1", "-a1"]);
    assert_eq!(report.shutdown.unwrap().report.requested, None);
}

#[tokio::test(start_paused = true)]
async fn a_child_finds_its_tree_without_keeping_it_alive() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let child = ChildSpec::worker("a", move |ctx: TaskContext| {
        let tell = tell.clone();
        async move {
            ctx.cancelled().await;
            let handle = ctx
                .supervisor()
                .and_then(|weak: WeakSupervisorHandle| weak.upgrade());
            tell.send(handle.map(|handle| handle.name().to_owned()))
                .unwrap();
        }
    });
    let before = alive_tasks();
    let handle = start(SupervisorSpec::one_for_one("shop").child(child)).await;
    within(handle.restart_child("a", &by())).await.unwrap();
    assert_eq!(within(told.recv()).await.unwrap().as_deref(), Some("shop"));
    drop(handle);
    assert_eq!(within(told.recv()).await.unwrap(), None);
    until(|| alive_tasks() == before).await;
}

#[tokio::test(start_paused = true)]
async fn the_control_plane_stops_alone() {
    let board = Switchboard::new();
    let handle =
        start(SupervisorSpec::one_for_one("t").child(board.child("a").backoff(None))).await;
    assert!(handle.is_alive());
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { within(handle.join()).await }
    });
    let report = within(handle.shutdown(&by())).await.unwrap();
    assert_eq!(report.outcome, ExitOutcome::ControlPlaneStopped);
    assert_eq!(report.shutdown, None);
    assert_eq!(waiting.await.unwrap(), report);
    assert!(!handle.is_alive());
    assert_eq!(handle.health().control_plane, ControlPlane::Stopped);
    let refused = within(handle.restart_child("a", &by())).await;
    assert_eq!(refused, Err(SupervisorError::ControlPlaneStopped));

    board.fail("a");
    running(&handle, "a", 2).await;
    assert_eq!(within(handle.shutdown(&by())).await.unwrap(), report);

    assert!(shut_down(&handle).await.clean);
    assert_eq!(
        within(handle.join()).await,
        report,
        "the first report is the one"
    );
    assert_eq!(handle.health().control_plane, ControlPlane::Ended);
    assert_eq!(
        handle.shutdown(&by()).await,
        Err(SupervisorError::ShuttingDown)
    );
}

#[tokio::test(start_paused = true)]
async fn join_says_how_the_tree_ended() {
    let board = Switchboard::new();
    let gave_up = SupervisorSpec::one_for_one("t")
        .intensity(0, secs(1))
        .child(board.child("a").no_fuse());
    let handle = start(gave_up).await;
    board.fail("a");
    let report = within(handle.join()).await;
    let ExitOutcome::GaveUp { reason } = &report.outcome else {
        panic!("{report:?}")
    };
    assert!(reason.contains("intensity exceeded"), "{reason}");
    assert_eq!(handle.health().control_plane, ControlPlane::Ended);
    assert!(!handle.is_alive());

    let done = SupervisorSpec::one_for_one("t")
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(
            ChildSpec::job("a", |ctx: TaskContext| async move {
                let _ = tokio::time::timeout(secs(5), ctx.cancelled()).await;
            })
            .significant(),
        )
        .child(board.child("b"));
    let handle = start(done).await;
    let report = within(handle.join()).await;
    assert_eq!(report.outcome, ExitOutcome::Finished);
    assert_eq!(report.uptime, secs(5));
    assert!(report.shutdown.clone().unwrap().clean);
    assert_eq!(shut_down(&handle).await, report.shutdown.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_root_that_ends_by_itself_has_been_stopped_by_nobody() {
    let board = Switchboard::new();
    for stops_in in [secs(0), secs(2)] {
        let tree = SupervisorSpec::one_for_one("t")
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(board.child("a").transient().significant())
            .child(ChildSpec::worker("b", move |ctx: TaskContext| async move {
                ctx.cancelled().await;
                if !stops_in.is_zero() {
                    tokio::time::sleep(stops_in).await;
                }
            }));
        let handle = start(tree).await;
        board.complete("a");
        within(handle.join()).await;
        let root = handle.current_state().root;
        assert_eq!(root.last_exit.unwrap().exit, TaskExit::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn health_says_who_is_not_well_and_why() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("well"))
        .child(board.child("fatal"))
        .supervisor(SupervisorSpec::one_for_one("n").child(board.child("held")));
    let handle = start(tree).await;
    let health = handle.health();
    assert!(health.is_healthy());
    assert_eq!(health.children, [("running", 4)].into());
    board.fatal("fatal");
    within(handle.quarantine_child("n/held", &by()))
        .await
        .unwrap();
    until(|| handle.child_state("fatal").unwrap().status.as_str() == "failed").await;
    let health = handle.health();
    assert_eq!(
        health.children,
        [("running", 2), ("failed", 1), ("quarantined", 1)].into()
    );
    let why: Vec<_> = health
        .degraded
        .iter()
        .map(|(path, why)| format!("{path}: {why}"))
        .collect();
    assert_eq!(
        why,
        [
            "/fatal: failed: no use",
            "/n/held: quarantined: by test: to see what happens"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_root_is_in_quarantine_is_not_healthy() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, secs(1))
        .escalation(rust_supervisor::EscalationPolicy::QuarantineScope)
        .child(board.child("a").no_fuse());
    let handle = start(tree).await;
    board.fail("a");
    until(|| handle.child_state("/").unwrap().status.as_str() == "quarantined").await;
    let health = handle.health();
    assert!(health.degraded[0].0.is_root());
    assert!(health.degraded[0].1.contains("intensity exceeded"));
    let root = handle.child_state("/").unwrap();
    assert!(root.reason.unwrap().contains("intensity exceeded"));
    assert!(shut_down(&handle).await.clean);
}

#[test]
fn a_runtime_may_be_torn_down_under_a_living_tree() {
    let held = Arc::new(());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tree = of_all_sorts("t", &held).supervisor(of_all_sorts("n", &held));
    let handle = runtime.block_on(start(tree));
    let mut events = handle.subscribe_events();
    drop(runtime);
    assert!(!handle.current_state().root.children.is_empty());
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    other.block_on(async {
        tokio::time::pause();
        // All answer, none hangs.
        let report = within(handle.join()).await;
        assert!(matches!(report.outcome, ExitOutcome::GaveUp { .. }));
        assert!(within(handle.shutdown_tree(&by())).await.is_err());
        assert!(within(handle.restart_child("worker", &by())).await.is_err());
        assert!(!handle.is_alive());
        within(async { while events.next().await.is_some() {} }).await;
        assert_eq!(handle.health().control_plane, ControlPlane::Ended);
    });
    drop(handle);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn run_returns_when_the_work_is_done() {
    let tree = SupervisorSpec::one_for_one("t")
        .auto_shutdown(AutoShutdown::AllSignificant)
        .child(ChildSpec::job("a", |_| async {}).significant())
        .child(ChildSpec::job("b", |_| async {}).significant());
    let report = Supervisor::run(tree).unwrap();
    assert_eq!(report.outcome, ExitOutcome::Finished);
    assert!(report.shutdown.unwrap().clean);
}

#[test]
fn a_blocked_thread_cannot_hold_the_program() {
    let (release, blocks) = mpsc::channel::<()>();
    let blocks = std::sync::Mutex::new(blocks);
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        let stuck = ChildSpec::worker("stuck", move |ctx: TaskContext| {
            let blocks = std::mem::replace(&mut *blocks.lock().unwrap(), mpsc::channel().1);
            async move {
                ctx.mark_ready();
                tokio::task::yield_now().await;
                let _ = blocks.recv();
            }
        });
        let tree = SupervisorSpec::one_for_one("t")
            .abort_wait(ms(20))
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(stuck.grace(ms(10)))
            .child(ChildSpec::job("done", |_| async {}).significant());
        ended.send(Supervisor::run(tree)).unwrap();
    });
    let report = has_ended.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(!report.unwrap().shutdown.unwrap().clean);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_dropped_is_carried_out_all_the_same() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    let meta = by();
    let mut pausing = Box::pin(handle.pause_child("a", &meta));
    assert!(futures_poll(&mut pausing).is_none());
    drop(pausing);
    event(&handle, |event| {
        matches!(
            &event.kind,
            rust_supervisor::EventKind::Tree(rust_supervisor::TreeEvent::CommandCompleted { .. })
        )
    })
    .await;
    assert_eq!(handle.child_state("a").unwrap().status.as_str(), "paused");
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_finds_its_tree_while_that_starts() {
    let first = ChildSpec::worker("first", |ctx: TaskContext| async move {
        let handle = ctx.supervisor().and_then(|weak| weak.upgrade());
        let handle = handle.ok_or("no tree")?;
        let second = ChildSpec::worker("second", |ctx: TaskContext| async move {
            ctx.cancelled().await;
        });
        handle.add_child("/", second, &by()).await?;
        drop(handle);
        ctx.mark_ready();
        ctx.cancelled().await;
        TaskResult::Ok(())
    });
    let first = first.readiness(ReadinessPolicy::Explicit);
    let before = alive_tasks();
    let handle = start(SupervisorSpec::one_for_one("t").child(first)).await;
    assert_eq!(
        handle.child_state("second").unwrap().status.as_str(),
        "running"
    );
    drop(handle);
    until(|| alive_tasks() == before).await;
}
