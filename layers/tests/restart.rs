//! A child runs again by its restart type, and a life ends with what it should.

mod support;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use supervisor_layers::{
    BackoffLayer, BoxError, ChildStatus, FailureKind, FuseLayer, Gate, Jitter, NextRun,
    RestartLayer, RestartType, ShutdownLayer, StopCause, TaskContext, TaskExit, TaskFactoryExt,
    TaskFailure, TaskResult, context::ContextSpec, ms, secs, service_fn,
};
use support::{Counter, OnDrop, Own, live, settle, supervised, within};
use tower::{Service, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, timeout::TimeoutLayer};
use tower_test::mock;

/// Ends its first run as `first` says; a second one waits for its stop.
async fn second_run(restart: RestartType, first: fn() -> TaskResult) -> Option<Gate> {
    let ctx = TaskContext::detached("child");
    let child = ServiceBuilder::new()
        .layer(RestartLayer::new(restart))
        .service(service_fn(move |ctx| async move {
            match ctx.generation() {
                1 => first(),
                _ => {
                    ctx.cancelled().await;
                    Ok(())
                }
            }
        }));
    let life = live(child, &ctx);
    let ran = within(ctx.gate().ran_again(1)).await;
    ctx.gate().shutdown();
    let _ = within(life).await.unwrap();
    ran.ok().map(|_| ctx.gate())
}

#[tokio::test(start_paused = true)]
async fn the_restart_type_says_who_runs_again() {
    use RestartType::{Permanent, Temporary, Transient};
    let completed = || Ok(());
    let failed = || Err("broken".into());
    let panicked = || panic!("broken");
    let timed_out = || Err(TaskFailure::new(FailureKind::Timeout, "late").into());
    let fatal = || Err(TaskFailure::fatal("hopeless").into());
    type Row = (fn() -> TaskResult, [bool; 3]);
    let table: [Row; 5] = [
        (completed, [true, false, false]),
        (failed, [true, true, false]),
        (panicked, [true, true, false]),
        (timed_out, [true, true, false]),
        (fatal, [false, false, false]),
    ];
    for (row, (first, again)) in table.into_iter().enumerate() {
        for (restart, again) in [Permanent, Transient, Temporary].into_iter().zip(again) {
            let ran = second_run(restart, first).await.is_some();
            assert_eq!(ran, again, "row {row}, {restart:?}");
        }
    }
}

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
async fn generations_increase_by_one_and_name_the_runs() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .service(service_fn({
            let seen = seen.clone();
            move |ctx| {
                let nth = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(ctx.generation());
                    seen.len()
                };
                async move { if nth < 6 { Err("not yet") } else { Ok(()) } }
            }
        }));
    let ctx = TaskContext::detached("child");
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
    let snapshot = ctx.snapshot();
    assert_eq!(snapshot.restarts(), 5);
    assert_eq!(snapshot.exits[TaskExit::Failed as usize], 5);
    assert_eq!(snapshot.exits[TaskExit::Completed as usize], 1);
}

/// An error that says more than its source.
#[derive(Debug)]
struct Wrapped(TaskFailure);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("while reading the schema")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_is_found_under_the_error_that_wraps_it() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(|_| async {
            Err::<(), _>(Wrapped(TaskFailure::fatal("too old")))
        }));
    let ctx = TaskContext::detached("child");
    let failure = within(child.run(ctx.clone())).await.unwrap_err();
    assert!(failure.is_fatal());
    assert_eq!(failure.to_string(), "while reading the schema");
    assert_eq!(ctx.gate().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_is_final() {
    let (service, mut handle) = mock::pair::<TaskContext, ()>();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service);
    let ctx = TaskContext::detached("child");
    let life = live(child, &ctx);
    handle.allow(2);
    let (_, respond) = within(handle.next_request()).await.unwrap();
    respond.send_error("first run");
    let (second, respond) = within(handle.next_request()).await.unwrap();
    assert_eq!(second.generation(), 2);
    handle.send_error("the pool is closed");
    respond.send_error("second run");
    let failure = within(life).await.unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "the pool is closed");
    assert_eq!(ctx.gate().generation(), 2, "no run was begun for it");
    assert_eq!(ctx.gate().status(), ChildStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_before_the_first_run_is_its_exit() {
    let (service, mut handle) = mock::pair::<TaskContext, ()>();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service);
    handle.send_error("the pool is closed");
    let ctx = TaskContext::detached("child");
    let failure = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(failure.to_string(), "the pool is closed");
    let last = ctx.snapshot().last_exit.expect("the adopted run ended");
    assert_eq!((last.generation, last.exit), (1, TaskExit::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_a_child_whose_service_is_not_ready() {
    for runs_before in [0, 1] {
        let (service, mut handle) = mock::pair::<TaskContext, ()>();
        handle.allow(runs_before);
        let child = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .service(service);
        let ctx = TaskContext::detached("child");
        let life = live(child, &ctx);
        if runs_before == 1 {
            let (_, respond) = within(handle.next_request()).await.unwrap();
            respond.send_error("broken");
        }
        settle().await;
        assert!(!life.is_finished());
        ctx.gate().shutdown();
        assert!(within(life).await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_comes_while_readiness_is_asked_is_heard() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(Own {
            ready: move || {
                gate.shutdown();
                Poll::Pending
            },
            call: |_| async { Ok(()) },
        });
    assert!(within(live(child, &ctx)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_while_the_service_is_not_ready_keeps_the_run_back() {
    let (service, mut handle) = mock::pair::<TaskContext, ()>();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service);
    handle.allow(0);
    let ctx = TaskContext::detached("child");
    let life = live(child, &ctx);
    settle().await;
    assert!(ctx.gate().pause());
    handle.allow(1);
    settle().await;
    assert_eq!(ctx.gate().status(), ChildStatus::Paused);
    assert!(!ctx.gate().is_active());
    ctx.gate().release().unwrap();
    let (run, respond) = within(handle.next_request()).await.unwrap();
    assert_eq!(run.generation(), 2);
    ctx.gate().shutdown();
    respond.send_response(());
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_held_while_it_waits_for_a_permit_takes_none_from_the_others() {
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let child = || {
        ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(limit.clone())
            .service(service_fn(|ctx| async move { ctx.cancelled().await }))
    };
    let [first, second, third] = ["first", "second", "third"].map(TaskContext::detached);
    let mut lives = Vec::new();
    for ctx in [&first, &second, &third] {
        lives.push(live(child(), ctx));
        settle().await;
    }
    assert_eq!(second.gate().status(), ChildStatus::Starting);
    second.gate().pause();
    settle().await;
    first.gate().shutdown();
    within(third.gate().ready())
        .await
        .expect("the permit is its");
    // Held as one that waits for its second run, too.
    second.gate().release();
    settle().await;
    second.gate().pause();
    settle().await;
    let fourth = TaskContext::detached("fourth");
    lives.push(live(child(), &fourth));
    settle().await;
    third.gate().shutdown();
    within(fourth.gate().ready())
        .await
        .expect("the permit is its");
    for ctx in [&second, &fourth] {
        ctx.gate().shutdown();
    }
    for life in lives {
        within(life).await.unwrap().unwrap();
    }
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
async fn a_clone_is_a_fresh_start() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(FuseLayer::new(2, secs(600)))
        .layer(BackoffLayer::exponential(secs(1), secs(60)).jitter(Jitter::None))
        .service(service_fn(|_| async { Err::<(), _>("broken") }));
    for _ in 0..2 {
        let began = tokio::time::Instant::now();
        let ctx = TaskContext::detached("child");
        let failure = within(child.clone().run(ctx.clone())).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::GaveUp);
        assert_eq!(ctx.gate().generation(), 3);
        assert_eq!(began.elapsed(), secs(3), "one second, then two");
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

/// On one thread: the other task runs only if the crash loop lets it.
#[tokio::test(start_paused = true)]
async fn a_crash_loop_without_backoff_leaves_room_for_others_and_can_be_stopped() {
    let ctx = TaskContext::detached("child");
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(|_| async { Err::<(), _>("broken") }));
    let life = live(child, &ctx);
    for _ in 0..3 {
        let before = ctx.gate().generation();
        tokio::task::yield_now().await;
        assert!(ctx.gate().generation() > before, "the loop goes on");
    }
    ctx.gate().shutdown();
    assert!(within(life).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_completing_permanent_child_without_backoff_can_be_paused() {
    let ctx = TaskContext::detached("child");
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(|_| async {}));
    let life = live(child, &ctx);
    tokio::task::yield_now().await;
    ctx.gate().pause();
    settle().await;
    let held_at = ctx.gate().generation();
    settle().await;
    assert_eq!(ctx.gate().generation(), held_at);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
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
async fn an_aborted_run_runs_again_only_if_its_stop_says_so() {
    let deaf = || {
        ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(ShutdownLayer::grace(secs(5)))
            .service(service_fn(|_| std::future::pending::<()>()))
    };
    let ctx = TaskContext::detached("restarted");
    let life = live(deaf(), &ctx);
    settle().await;
    ctx.gate().restart().unwrap();
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Aborted);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(ctx.gate().status(), ChildStatus::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_limits_a_run_and_is_a_failure_like_any_other() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(FuseLayer::new(1, secs(60)))
        .layer(BackoffLayer::constant(ms(100)).jitter(Jitter::None))
        .layer(TimeoutLayer::new(secs(1)))
        .service(service_fn(|_| std::future::pending::<()>()));
    let ctx = TaskContext::detached("child");
    let began = tokio::time::Instant::now();
    let failure = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::GaveUp);
    assert_eq!(ctx.snapshot().exits[TaskExit::TimedOut as usize], 2);
    assert_eq!(began.elapsed(), ms(2100));
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
