//! A stopping run has its grace, then it is dropped.

mod scripted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use scripted::{
    Ends, always, assert_passes_readiness_errors_through, assert_passes_through, settle, within,
};
use supervisor_layers::{
    BoxError, ChildStatus, RestartType, ServiceBuilderExt, ShutdownLayer, StopCause, TaskContext,
    TaskExit, TaskFactory, TaskFactoryExt, TaskFailure, context::StopRequest, secs, service_fn,
};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceBuilder;

const GRACE: Duration = Duration::from_secs(5);

fn one_run(child: impl TaskFactory) -> (TaskContext, JoinHandle<Result<(), BoxError>>) {
    let child = ServiceBuilder::new().graceful(GRACE).service(child);
    let ctx = TaskContext::detached("probe");
    let run = tokio::spawn(child.run(ctx.clone()));
    (ctx, run)
}

fn asked(deadline: Option<Duration>, cap: Option<Duration>) -> StopRequest {
    let now = Instant::now();
    StopRequest {
        at: None,
        deadline: deadline.map(|after| now + after),
        cap: cap.map(|after| now + after),
        correlation: 0,
    }
}

async fn aborted_after(run: JoinHandle<Result<(), BoxError>>, began: Instant) -> Duration {
    let error = within(run).await.unwrap().unwrap_err();
    assert_eq!(TaskFailure::of(error).exit(), TaskExit::Aborted);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    for layer in [ShutdownLayer::grace(GRACE), ShutdownLayer::off()] {
        assert_passes_through(layer).await;
        assert_passes_readiness_errors_through(layer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_listen_is_dropped_exactly_at_the_end_of_its_grace() {
    for cause in StopCause::ALL {
        let (ctx, run) = one_run(always(Ends::Deaf.at_once()));
        settle().await;
        let began = Instant::now();
        ctx.gate().stop_run(cause, StopRequest::default());
        assert_eq!(ctx.stop_deadline(), Some(began + GRACE));
        assert_eq!(aborted_after(run, began).await, GRACE, "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_stoppers_deadline_counts_if_it_is_sooner_than_the_grace() {
    for (deadline, dropped_after) in [(2, 2), (9, 5), (0, 0)] {
        let (ctx, run) = one_run(always(Ends::Deaf.at_once()));
        settle().await;
        let began = Instant::now();
        let request = asked(Some(secs(deadline)), None);
        ctx.gate().end(StopCause::Shutdown, request);
        assert_eq!(aborted_after(run, began).await, secs(dropped_after));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_can_only_bring_the_end_nearer() {
    let (ctx, run) = one_run(always(Ends::Deaf.at_once()));
    settle().await;
    let began = Instant::now();
    ctx.gate()
        .stop_run(StopCause::Pause, StopRequest::default());
    tokio::time::sleep(secs(1)).await;
    ctx.gate()
        .end(StopCause::Shutdown, asked(Some(secs(2)), None));
    settle().await;
    ctx.gate()
        .end(StopCause::Removal, asked(Some(secs(9)), None));
    assert_eq!(ctx.stop_cause(), Some(StopCause::Shutdown));
    assert_eq!(aborted_after(run, began).await, secs(3));
}

/// Asks for more time at its stop, never returns.
fn asks_for(more: Duration) -> impl TaskFactory<Error = BoxError> {
    service_fn(move |ctx| async move {
        ctx.cancelled().await;
        ctx.extend_stop(more);
        std::future::pending::<()>().await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_run_may_ask_for_more_time_up_to_the_cap() {
    for (more, cap, dropped_after) in [
        (8, None, 8),
        (8, Some(20), 8),
        (30, Some(20), 20),
        (1, None, 5),
    ] {
        let (ctx, run) = one_run(asks_for(secs(more)));
        settle().await;
        let began = Instant::now();
        let request = asked(None, cap.map(secs));
        ctx.gate().end(StopCause::Shutdown, request);
        assert_eq!(
            aborted_after(run, began).await,
            secs(dropped_after),
            "{more}, {cap:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_may_ask_again_and_again_while_it_makes_progress() {
    let (ctx, run) = one_run(service_fn(|ctx: TaskContext| async move {
        ctx.cancelled().await;
        for _ in 0..10 {
            ctx.extend_stop(secs(3));
            tokio::time::sleep(secs(2)).await;
        }
    }));
    settle().await;
    let began = Instant::now();
    ctx.gate().shutdown();
    within(run).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_task_of_the_run_may_ask_for_more_time_in_its_place() {
    let (ctx, run) = one_run(service_fn(|ctx: TaskContext| async move {
        let own = ctx.clone();
        ctx.spawn(async move {
            own.cancelled().await;
            tokio::time::sleep(secs(4)).await;
            own.extend_stop(secs(3));
        });
        std::future::pending::<()>().await;
    }));
    settle().await;
    let began = Instant::now();
    ctx.gate().shutdown();
    assert_eq!(aborted_after(run, began).await, secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_returns_within_its_grace_is_cancelled() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .graceful(GRACE)
        .service(service_fn(|ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(4)).await;
        }));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    within(ctx.gate().ready()).await.unwrap();
    let began = Instant::now();
    ctx.gate().shutdown();
    settle().await;
    let cause = Some(StopCause::Shutdown);
    assert_eq!(ctx.gate().status(), ChildStatus::Stopping { cause });
    within(life).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), secs(4));
    let state = ctx.snapshot();
    assert_eq!(state.last_exit.unwrap().exit, TaskExit::Cancelled);
    assert_eq!(state.settings.grace, Some(GRACE));
}

#[tokio::test(start_paused = true)]
async fn in_the_stack_a_dropped_run_ends_the_life_that_was_shut_down() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .graceful(GRACE)
        .service(always(Ends::Deaf.at_once()));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    within(ctx.gate().ready()).await.unwrap();
    let began = Instant::now();
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), GRACE);
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Aborted);
    let message = "did not end within its grace after a stop for shutdown, and was dropped";
    assert_eq!(last.message.as_deref(), Some(message));
    assert_eq!(ctx.gate().status(), ChildStatus::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_comes_before_the_run_is_first_polled_is_not_missed() {
    let child = ServiceBuilder::new()
        .graceful(GRACE)
        .service(always(Ends::Deaf.at_once()));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    ctx.gate().shutdown();
    let run = tokio::spawn(child.run(ctx));
    assert_eq!(aborted_after(run, began).await, GRACE);
}

/// Tells when it is dropped, and panics then if it is to.
struct Dropped {
    seen: Arc<AtomicBool>,
    panics: bool,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.seen.store(true, Ordering::SeqCst);
        assert!(!self.panics, "in a destructor");
    }
}

fn deaf_with_destructor(
    seen: &Arc<AtomicBool>,
    panics: bool,
) -> impl TaskFactory<Error = BoxError> {
    let seen = seen.clone();
    service_fn(move |_| {
        let dropped = Dropped {
            seen: seen.clone(),
            panics,
        };
        async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_the_run_held_is_dropped_before_its_end_is_told() {
    let seen = Arc::new(AtomicBool::new(false));
    let child = ServiceBuilder::new()
        .graceful(GRACE)
        .service(deaf_with_destructor(&seen, false));
    let ctx = TaskContext::detached("probe");
    let mut run = tokio_test::task::spawn(child.run(ctx.clone()));
    assert!(run.poll().is_pending());
    ctx.gate().shutdown();
    assert!(run.is_woken() && run.poll().is_pending());
    tokio::time::advance(GRACE).await;
    assert!(!seen.load(Ordering::SeqCst));
    // The future is still there, what it ran is not.
    assert!(run.poll().is_ready());
    assert!(seen.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_destructor_of_a_dropped_run_is_its_exit_and_goes_no_further() {
    let seen = Arc::new(AtomicBool::new(false));
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .graceful(GRACE)
        .service(deaf_with_destructor(&seen, true));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    within(ctx.gate().ready()).await.unwrap();
    ctx.gate().restart().unwrap();
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Panicked);
    assert!(last.message.unwrap().ends_with("in a destructor"));
    ctx.gate().shutdown();
    within(life)
        .await
        .expect("no panic leaves the stack")
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn turned_off_it_drops_nothing() {
    let child = ServiceBuilder::new()
        .layer(ShutdownLayer::off())
        .service(always(Ends::Deaf.at_once()));
    let ctx = TaskContext::detached("probe");
    let run = tokio::spawn(child.run(ctx.clone()));
    settle().await;
    ctx.gate().shutdown();
    tokio::time::sleep(secs(80_000)).await;
    assert!(!run.is_finished());
    assert_eq!(ctx.snapshot().settings.grace, None);
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn an_endless_grace_is_no_panic() {
    let child = ServiceBuilder::new()
        .graceful(Duration::MAX)
        .service(service_fn(|ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(3600)).await;
        }));
    let ctx = TaskContext::detached("probe");
    let run = tokio::spawn(child.run(ctx.clone()));
    settle().await;
    ctx.gate().shutdown();
    within(run).await.unwrap().unwrap();
}

#[test]
fn no_stop_no_timer() {
    // A runtime without a timer: to make one would panic.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let child = ServiceBuilder::new()
        .graceful(GRACE)
        .service(service_fn(|_| async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }));
    runtime
        .block_on(child.run(TaskContext::detached("probe")))
        .unwrap();
}
