//! A child runs again by its restart type, and every wait before a run is open to a stop.

mod support;

use std::{fmt, sync::Arc, task::Poll};

use supervisor_layers::{
    BackoffLayer, ChildStatus, FailureKind, FuseLayer, Gate, Jitter, RestartLayer, RestartType,
    ShutdownLayer, TaskContext, TaskExit, TaskFactoryExt, TaskFailure, TaskResult, ms, secs,
    service_fn,
};
use support::{Own, live, settle, within};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, timeout::TimeoutLayer};
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
    assert_eq!(ctx.gate().status(), ChildStatus::Failed);
    // It shows as the exit of a run of its own, or nobody would know why the child is down.
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!((last.generation, last.exit), (3, TaskExit::Failed));
    assert_eq!(last.message.as_deref(), Some("the pool is closed"));
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
