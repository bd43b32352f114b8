//! How a life begins and ends, and what is left of it when it is dropped.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use supervisor_layers::{
    BoxError, ChildStatus, FailureKind, FuseLayer, NextRun, RestartLayer, RestartType, StopCause,
    TaskContext, TaskExit, TaskFactoryExt, TaskFailure, TaskResult, context::ContextSpec, secs,
    service_fn,
};
use support::{Counter, OnDrop, live, settle, supervised, within};
use tower::{Service, ServiceBuilder};

#[tokio::test(start_paused = true)]
async fn a_life_ends_with_what_its_last_run_says() {
    let life = async |restart, run: fn() -> TaskResult| {
        let child = ServiceBuilder::new()
            .layer(RestartLayer::new(restart))
            .layer(FuseLayer::new(2, secs(60)))
            .service(service_fn(move |_| async move { run() }));
        let ctx = TaskContext::detached("child");
        let result = within(child.run(ctx.clone())).await;
        (result, ctx.gate().status())
    };
    let (result, status) = life(RestartType::Transient, || Ok(())).await;
    assert!(result.is_ok());
    assert_eq!(status, ChildStatus::Finished);

    let (result, status) = life(RestartType::Temporary, || Err("broken".into())).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Error);
    assert_eq!(failure.to_string(), "broken");
    assert_eq!(status, ChildStatus::Failed);

    let (result, status) = life(RestartType::Permanent, || Err("broken".into())).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::GaveUp);
    assert!(failure.to_string().starts_with("gave up"));
    assert_eq!(status, ChildStatus::Failed);
    let last = failure
        .find::<TaskFailure>()
        .expect("the last run's failure");
    assert_eq!(last.to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn the_decision_falls_after_the_runs_future_is_gone() {
    let ctx = TaskContext::detached("child");
    let seen = Arc::new(AtomicBool::new(false));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::temporary())
        .service(service_fn({
            let (gate, seen) = (ctx.gate(), seen.clone());
            move |run: TaskContext| {
                let (gate, seen) = (gate.clone(), seen.clone());
                let at_end = OnDrop(move || {
                    let undecided = run.snapshot().last_exit.is_none() && gate.is_active();
                    seen.store(undecided && !run.is_cancelled(), Ordering::Relaxed);
                });
                // Not a variable of the async block: it lives as long as the future does.
                Keep { _kept: at_end }
            }
        }));
    within(child.run(ctx.clone())).await.unwrap();
    assert!(seen.load(Ordering::Relaxed));
    assert!(ctx.snapshot().last_exit.is_some());
}

struct Keep<T> {
    _kept: T,
}

impl<T> Future for Keep<T> {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_called_again_starts_another_life_of_the_child() {
    let mut child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .service(service_fn(|_| async {}));
    let ctx = TaskContext::detached("child");
    for generation in 1..=3 {
        within(child.call(ctx.clone())).await.unwrap();
        assert_eq!(ctx.gate().generation(), generation);
        assert_eq!(ctx.gate().status(), ChildStatus::Finished);
    }
    ctx.gate().shutdown();
    within(child.call(ctx.clone())).await.unwrap();
    assert_eq!(ctx.gate().generation(), 3, "ended for good");
}

#[tokio::test(start_paused = true)]
async fn a_life_that_is_dropped_ends_its_run_as_aborted_and_its_helpers_with_it() {
    let (helpers, runs) = (Counter::new(), Counter::new());
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn({
            let (helpers, runs) = (helpers.clone(), runs.clone());
            move |ctx| {
                let (helpers, runs) = (helpers.clone(), runs.clone());
                async move {
                    helpers.add();
                    runs.add();
                    let _run = OnDrop(|| runs.sub());
                    ctx.spawn(async move {
                        let _helper = OnDrop(|| helpers.sub());
                        std::future::pending::<()>().await;
                    });
                    std::future::pending::<()>().await;
                }
            }
        }));
    let dropped = async |ctx: &TaskContext| {
        assert_eq!(runs.get(), 0, "at once");
        settle().await;
        assert_eq!(helpers.get(), 0);
        let snapshot = ctx.snapshot();
        let last = snapshot.last_exit.expect("the run ended");
        assert_eq!(last.exit, TaskExit::Aborted);
        assert_eq!(snapshot.status, ChildStatus::Aborted);
        assert!(ctx.is_cancelled() && !ctx.gate().is_active());
    };

    let ctx = TaskContext::detached("timed");
    let limited = ServiceBuilder::new()
        .timeout(secs(5))
        .service(child.clone());
    let failure = within(live(limited, &ctx)).await.unwrap().unwrap_err();
    assert_eq!(failure.exit(), TaskExit::TimedOut);
    dropped(&ctx).await;

    let ctx = TaskContext::detached("aborted");
    let life = live(child, &ctx);
    runs.reaches(1).await;
    life.abort();
    assert!(within(life).await.unwrap_err().is_cancelled());
    dropped(&ctx).await;
}

#[tokio::test(start_paused = true)]
async fn a_life_dropped_while_helpers_end_keeps_the_runs_own_exit() {
    let (stay, leave) = std::sync::mpsc::channel::<()>();
    let leave = Arc::new(std::sync::Mutex::new(Some(leave)));
    let ctx = TaskContext::detached("child");
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(move |ctx: TaskContext| {
            let leave = leave.lock().unwrap().take().expect("one run");
            let (up, started) = tokio::sync::oneshot::channel();
            ctx.spawn_blocking(move || {
                let _ = up.send(());
                let _ = leave.recv();
            });
            async move {
                let _ = started.await;
                Err::<(), _>("broken")
            }
        }));
    let life = live(child, &ctx);
    let mut looks = 0;
    while !matches!(ctx.gate().status(), ChildStatus::Stopping { .. }) {
        tokio::task::yield_now().await;
        looks += 1;
        assert!(looks < 10_000_000, "the run never ended");
    }
    life.abort();
    assert!(life.await.unwrap_err().is_cancelled());
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!(
        (last.exit, last.message.as_deref()),
        (TaskExit::Failed, Some("broken"))
    );
    drop(stay);
}

#[tokio::test(start_paused = true)]
async fn a_next_life_waits_for_what_a_dropped_one_left_behind() {
    let (stay, leave) = std::sync::mpsc::channel::<()>();
    let leave = Arc::new(std::sync::Mutex::new(Some(leave)));
    let started = Counter::new();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn({
            let started = started.clone();
            move |ctx: TaskContext| {
                let leave = leave.lock().unwrap().take();
                let started = started.clone();
                async move {
                    if let Some(leave) = leave {
                        let up = started.clone();
                        ctx.spawn_blocking(move || {
                            up.add();
                            let _ = leave.recv();
                        });
                    } else {
                        started.add();
                    }
                    ctx.cancelled().await;
                }
            }
        }));
    let ctx = TaskContext::detached("child");
    let life = live(child.clone(), &ctx);
    started.reaches(1).await;
    life.abort();
    assert!(life.await.unwrap_err().is_cancelled());
    let life = live(child, &ctx);
    settle().await;
    assert_eq!(started.get(), 1, "the thread of the run before lives");
    drop(stay);
    started.reaches(2).await;
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_fails_is_not_retried_and_a_later_one_is() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    gate.reopen(true);
    let mut child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(|ctx| async move {
            if ctx.generation() == 3 {
                ctx.cancelled().await;
            }
            Err::<(), _>("no port")
        }));
    let NextRun::Run(run) = within(gate.next_run()).await else {
        panic!("the gate is open")
    };
    let failure = within(child.call(run)).await.unwrap_err();
    assert_eq!(failure.to_string(), "no port");
    // Somebody mended it half and started it by hand: from here on it is a child like any other.
    gate.restart().unwrap();
    let NextRun::Run(run) = within(gate.next_run()).await else {
        panic!("the gate is open")
    };
    let life = tokio::spawn(child.call(run));
    assert_eq!(within(gate.ran_again(2)).await, Ok(3));
    gate.end(StopCause::Removal, Default::default());
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_on_a_context_somebody_stopped_before_never_begins() {
    let calls = Counter::new();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn({
            let calls = calls.clone();
            move |_| {
                calls.add();
                async { Ok::<(), BoxError>(()) }
            }
        }));
    let ctx = TaskContext::detached("child");
    ctx.gate().shutdown();
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(calls.get(), 0);
    assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Cancelled);
}
