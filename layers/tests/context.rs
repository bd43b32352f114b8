//! What a run is told, and what ends with it.

mod support;

use std::sync::{Arc, Mutex};

use supervisor_layers::{
    BackoffLayer, ChildStatus, Jitter, NextRun, ReadinessPolicy, RestartLayer, RestartType,
    ShutdownLayer, StopCause, TaskContext, TaskExit, TaskFactoryExt, TaskFailure, WatchdogLayer,
    context::{ContextSpec, StopRequest},
    ms, secs, service_fn,
};
use support::{Counter, OnDrop, live, settle, supervised, within};
use tokio::time::Instant;
use tower::ServiceBuilder;

/// The runs' contexts, kept beyond their runs.
type Kept = Arc<Mutex<Vec<TaskContext>>>;

async fn next(ctx: &TaskContext) -> TaskContext {
    match within(ctx.gate().next_run()).await {
        NextRun::Run(run) => run,
        NextRun::End(cause) => panic!("ended for {cause}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_context_left_behind_is_cancelled_whatever_the_child_does_next() {
    let kept = Kept::default();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn({
            let kept = kept.clone();
            move |ctx: TaskContext| {
                kept.lock().unwrap().push(ctx.clone());
                async move {
                    if ctx.generation() == 3 {
                        ctx.cancelled().await;
                    }
                }
            }
        }));
    let ctx = TaskContext::detached("child");
    let life = live(child, &ctx);
    within(ctx.gate().ready()).await.unwrap();
    let kept = kept.lock().unwrap().clone();
    let cancelled: Vec<_> = kept.iter().map(TaskContext::is_cancelled).collect();
    assert_eq!(cancelled, [true, true, false]);
    within(kept[0].cancelled()).await;
    within(kept[0].cancelled_owned()).await;
    assert!(
        within(kept[1].run_until_cancelled(async {}))
            .await
            .is_none()
    );
    assert!(kept[1].cancellation_token().is_cancelled());
    assert!(!kept[2].cancellation_token().is_cancelled());
    assert_eq!(kept[0].stop_cause(), None, "it ended by itself");
    // What a stale context says about its run concerns no other one.
    kept[0].extend_stop(secs(60));
    kept[0].mark_ready();
    ctx.gate()
        .stop_run(StopCause::Sibling, StopRequest::default());
    assert_eq!(kept[1].stop_cause(), None);
    assert_eq!(kept[2].stop_cause(), Some(StopCause::Sibling));
    assert_eq!(kept[1].stop_deadline(), None);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_way_to_wait_for_a_stop_hears_it() {
    let ctx = TaskContext::detached("child");
    let token = ctx.cancellation_token();
    let mut waits = [
        tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.cancelled().await }
        }),
        tokio::spawn(ctx.cancelled_owned()),
        tokio::spawn({
            let ctx = ctx.clone();
            async move {
                let cut_off = ctx.run_until_cancelled(std::future::pending::<()>()).await;
                assert!(cut_off.is_none());
            }
        }),
        tokio::spawn(async move { token.cancelled().await }),
    ];
    settle().await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    ctx.gate().pause();
    for wait in &mut waits {
        within(wait).await.unwrap();
    }
    assert!(ctx.is_cancelled());
    assert_eq!(ctx.stop_cause(), Some(StopCause::Pause));
    assert!(ctx.cancellation_token().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_future_runs_to_its_end_if_no_stop_comes_and_is_not_polled_after_one() {
    let ctx = TaskContext::detached("child");
    assert_eq!(ctx.run_until_cancelled(async { 7 }).await, Some(7));
    ctx.gate().shutdown();
    let polled = ctx.run_until_cancelled(async { panic!("polled") }).await;
    assert!(polled.is_none());
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_token_cancels_nothing_else() {
    let ctx = TaskContext::detached("child");
    let (mine, theirs) = (ctx.cancellation_token(), ctx.cancellation_token());
    mine.cancel();
    assert!(!theirs.is_cancelled());
    assert!(!ctx.cancellation_token().is_cancelled());
    assert!(!ctx.is_cancelled());
    ctx.gate().shutdown();
    assert!(theirs.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_stopping_run_is_dropped_at_the_sooner_of_grace_and_deadline_unless_it_asks_for_more() {
    for (deadline, cap, more, dropped_after) in [
        (None, None, None, 5),
        (Some(3), None, None, 3),
        (Some(9), None, None, 5),
        (None, None, Some(8), 8),
        (None, Some(6), Some(8), 6),
        (Some(3), Some(4), Some(8), 4),
        (None, None, Some(2), 5),
    ] {
        let child = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(ShutdownLayer::grace(secs(5)))
            .service(service_fn(move |ctx| async move {
                ctx.extend_stop(secs(1000)); // nobody stops it yet: no effect
                ctx.cancelled().await;
                if let Some(more) = more {
                    ctx.extend_stop(secs(more));
                }
                std::future::pending::<()>().await;
            }));
        let ctx = TaskContext::detached("child");
        let life = live(child, &ctx);
        within(ctx.gate().ready()).await.unwrap();
        assert_eq!(ctx.stop_deadline(), None);
        let asked = Instant::now();
        let at = |n: u64| asked + secs(n);
        let request = StopRequest {
            at: None,
            deadline: deadline.map(at),
            cap: cap.map(at),
            correlation: 0,
        };
        ctx.gate().end(StopCause::Removal, request);
        settle().await;
        assert_eq!(ctx.stop_deadline(), Some(at(dropped_after)));
        assert_eq!(
            ctx.gate().drop_at().map(|(at, _)| at),
            Some(at(dropped_after))
        );
        within(life).await.unwrap().unwrap();
        assert_eq!(asked.elapsed(), secs(dropped_after));
        assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Aborted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_is_ready_when_its_policy_says() {
    for readiness in [ReadinessPolicy::Immediate, ReadinessPolicy::Explicit] {
        let (owner, ctx) = supervised(ContextSpec {
            readiness,
            ..ContextSpec::default()
        });
        let run = next(&ctx).await;
        let child = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .service(service_fn(|ctx| async move {
                tokio::time::sleep(secs(3)).await;
                ctx.mark_ready();
                ctx.mark_ready();
                ctx.cancelled().await;
            }));
        let began = Instant::now();
        let life = live(child, &run);
        settle().await;
        let at_once = readiness == ReadinessPolicy::Immediate;
        assert_eq!(ctx.snapshot().ready, at_once);
        let status = ctx.gate().status();
        let expected = if at_once {
            ChildStatus::Running
        } else {
            ChildStatus::Starting
        };
        assert_eq!(status, expected);
        assert_eq!(within(ctx.gate().ready()).await, Ok(1));
        assert_eq!(began.elapsed(), if at_once { secs(0) } else { secs(3) });
        tokio::time::sleep(secs(10)).await;
        ctx.gate().shutdown();
        within(life).await.unwrap().unwrap();
        assert_eq!(
            owner.names(),
            ["1 starting", "1 ready", "1 exited", "1 decided"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_count_the_starts_in_a_row_that_did_not_become_healthy() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .layer(
            BackoffLayer::constant(ms(1))
                .jitter(Jitter::None)
                .reset_after(secs(10)),
        )
        .service(service_fn({
            let seen = seen.clone();
            move |ctx: TaskContext| {
                seen.lock().unwrap().push(ctx.attempt());
                async move {
                    match ctx.generation() {
                        4 => tokio::time::sleep(secs(10)).await,
                        5 => tokio::time::sleep(secs(9)).await,
                        7 => return Ok(()),
                        _ => {}
                    }
                    Err("broken")
                }
            }
        }));
    within(child.run(TaskContext::detached("child")))
        .await
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_runs_helpers_are_aborted_at_its_end_and_joined_before_the_next() {
    let alive = Counter::new();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn({
            let alive = alive.clone();
            move |ctx: TaskContext| {
                let alive = alive.clone();
                async move {
                    assert_eq!(alive.get(), 0, "what the run before started is gone");
                    for _ in 0..3 {
                        alive.add();
                        let alive = alive.clone();
                        ctx.spawn(async move {
                            let _end = OnDrop(|| alive.sub());
                            std::future::pending::<()>().await;
                        });
                    }
                    tokio::task::yield_now().await;
                    match ctx.generation() {
                        1 => Err("broken"),
                        2 => panic!("broken"),
                        3 => Ok(()),
                        _ => {
                            ctx.cancelled().await;
                            Ok(())
                        }
                    }
                }
            }
        }));
    let ctx = TaskContext::detached("child");
    let life = live(child, &ctx);
    while ctx.gate().generation() < 4 {
        within(ctx.gate().ran_again(ctx.gate().generation()))
            .await
            .unwrap();
    }
    settle().await;
    let snapshot = ctx.snapshot();
    assert_eq!(
        snapshot.exits[TaskExit::Panicked as usize],
        1,
        "the one that was meant"
    );
    let names: Vec<_> = snapshot
        .helpers
        .iter()
        .map(|helper| helper.name.clone())
        .collect();
    assert_eq!(names.len(), 3);
    assert!(names[0].contains("tests/context.rs:"), "{names:?}");
    assert!(snapshot.helpers.iter().all(|helper| !helper.blocking));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(alive.get(), 0);
    assert!(ctx.snapshot().helpers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_blocking_helper_delays_the_next_run_is_named_and_hears_the_end_of_its_own() {
    let (up, mut started) = tokio::sync::mpsc::unbounded_channel();
    let (stay, leave) = std::sync::mpsc::channel::<()>();
    let leave = Arc::new(Mutex::new(Some(leave)));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(move |ctx: TaskContext| {
            let leave = leave.lock().unwrap().take();
            let up = up.clone();
            async move {
                let Some(leave) = leave else {
                    ctx.cancelled().await;
                    return Ok(());
                };
                let (run, token) = (ctx.clone(), ctx.cancellation_token());
                let (going, gone) = tokio::sync::oneshot::channel();
                ctx.spawn_blocking(move || {
                    let _ = going.send(());
                    let _ = leave.recv();
                    let _ = up.send((run.is_cancelled(), token.is_cancelled()));
                });
                let _ = gone.await;
                Err("broken")
            }
        }));
    let ctx = TaskContext::detached("child");
    let life = live(child, &ctx);
    let mut looks = 0;
    while ctx.gate().status() != (ChildStatus::Stopping { cause: None }) {
        tokio::task::yield_now().await;
        looks += 1;
        assert!(looks < 10_000_000, "the run never ended");
    }
    assert!(ctx.gate().is_active(), "helpers included");
    assert!(!ctx.snapshot().ready);
    let helpers = ctx.snapshot().helpers;
    assert_eq!(helpers.len(), 1);
    assert!(helpers[0].blocking && helpers[0].name.contains("tests/context.rs:"));
    drop(stay);
    assert_eq!(started.recv().await, Some((true, true)), "the run is over");
    assert_eq!(ctx.gate().ran_again(1).await, Ok(2));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_helper_on_a_context_left_behind_does_not_run() {
    let (_, ctx) = supervised(ContextSpec::default());
    let run = next(&ctx).await;
    ctx.gate().end_life(run.generation(), &Ok(())).await;
    let ran = Counter::new();
    let task = run.spawn({
        let ran = ran.clone();
        async move { ran.add() }
    });
    assert!(within(task).await.unwrap_err().is_cancelled());
    let thread = run.spawn_blocking({
        let ran = ran.clone();
        move || ran.add()
    });
    assert!(within(thread).await.unwrap_err().is_cancelled());
    assert_eq!(ran.get(), 0);
    assert!(ctx.snapshot().helpers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_ends_by_itself_gives_its_result_and_is_forgotten() {
    let ctx = TaskContext::detached("child");
    assert_eq!(within(ctx.spawn(async { 7 })).await.unwrap(), 7);
    assert_eq!(ctx.spawn_blocking(|| 8).await.unwrap(), 8);
    assert!(ctx.snapshot().helpers.is_empty());
}

#[test]
fn a_helper_dropped_by_a_runtime_that_shuts_down_may_ask_its_context() {
    let ctx = TaskContext::detached("child");
    let asked = Counter::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _entered = handle.enter();
    let _task = ctx.spawn({
        let (ctx, asked) = (ctx.clone(), asked.clone());
        let end = OnDrop(move || {
            ctx.snapshot();
            asked.add();
        });
        async move {
            let _end = &end;
            std::future::pending::<()>().await;
        }
    });
    assert_eq!(asked.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_context_names_its_child_and_its_run() {
    let (_, ctx) = supervised(ContextSpec {
        instance: 9,
        generation: 4,
        ..ContextSpec::default()
    });
    assert_eq!(
        (ctx.id(), ctx.path(), ctx.instance()),
        ("child", "/tree/child", 9)
    );
    assert!(ctx.is_cancelled(), "it stands for no run yet");
    let run = next(&ctx).await;
    assert_eq!((run.generation(), run.attempt()), (5, 1));
    assert!(!run.is_cancelled() && ctx.is_cancelled());
    assert_eq!(run.stop_cause(), None);
    assert!(run.owner().is_some());
    assert!(TaskContext::detached("child").owner().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_child_is_lingering_until_its_run_ends_at_last() {
    let (_, ctx) = supervised(ContextSpec::default());
    let run = next(&ctx).await;
    ctx.gate().end(StopCause::Shutdown, StopRequest::default());
    ctx.gate().mark_lingering();
    assert_eq!(ctx.gate().status(), ChildStatus::Lingering);
    let late = TaskFailure::new(supervisor_layers::FailureKind::Aborted, "late");
    ctx.gate().end_life(run.generation(), &Err(late)).await;
    assert_eq!(ctx.gate().status(), ChildStatus::Aborted);
    ctx.gate().mark_lingering();
    assert_eq!(
        ctx.gate().status(),
        ChildStatus::Aborted,
        "no run is left to linger"
    );
}

#[tokio::test(start_paused = true)]
async fn the_gate_answers_single_questions_as_the_snapshot_does() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    assert_eq!((gate.grace(), gate.restart_type()), (None, None));
    assert_eq!(gate.start_timeout(), None);
    let child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .layer(WatchdogLayer::new().start_timeout(secs(7)))
        .layer(ShutdownLayer::grace(secs(3)))
        .service(service_fn(|ctx: TaskContext| async move {
            ctx.spawn(std::future::pending::<()>());
            ctx.cancelled().await;
        }));
    let life = live(child, &ctx);
    within(gate.ready()).await.unwrap();
    assert_eq!(gate.grace(), Some(secs(3)));
    assert_eq!(gate.restart_type(), Some(RestartType::Transient));
    assert_eq!(gate.start_timeout(), Some(secs(7)));
    assert!(gate.has_helpers());
    gate.shutdown();
    within(life).await.unwrap().unwrap();
    let last = gate.take_last_word().unwrap();
    assert_eq!((last.generation, last.exit), (1, Some(TaskExit::Cancelled)));
    assert_eq!(gate.take_last_word(), None, "it has been said");
    assert!(!gate.has_helpers());
}
