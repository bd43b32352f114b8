//! A run that shows no sign of life, or does not start in time, is ended.

mod scripted;

use std::{sync::Arc, time::Duration};

use scripted::{
    Ends, always, assert_passes_readiness_errors_through, assert_passes_through, settle, within,
};
use supervisor_layers::{
    BoxError, FailureKind, Owner, ReadinessPolicy, RestartDecision, RestartType, ServiceBuilderExt,
    StopCause, TaskContext, TaskExit, TaskFactory, TaskFactoryExt, TaskFailure, WatchdogLayer,
    context::{ContextSpec, NextRun, Recorded, RunId, Steps, StopRequest},
    ms, secs, service_fn,
};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceBuilder;

type Running = JoinHandle<Result<(), BoxError>>;

fn stale() -> WatchdogLayer {
    WatchdogLayer::new().stale_after(secs(3))
}

/// One run under the watchdog, without a grace.
fn watched(layer: WatchdogLayer, child: impl TaskFactory) -> (TaskContext, Running) {
    let ctx = TaskContext::detached("probe");
    let run = ServiceBuilder::new().watchdog(layer).service(child);
    (ctx.clone(), tokio::spawn(run.run(ctx)))
}

async fn failure(run: Running) -> TaskFailure {
    TaskFailure::of(within(run).await.unwrap().unwrap_err())
}

/// An owner that wants nothing.
struct Nobody(Instant);

impl Owner for Nobody {
    fn origin(&self) -> Instant {
        self.0
    }

    fn record(
        &self,
        _: RunId<'_>,
        _: supervisor_layers::policy::Nanos,
        _: Steps<'_>,
        _: u64,
    ) -> Recorded {
        Recorded::default()
    }

    fn admit_restart(&self, _: supervisor_layers::policy::Nanos) -> bool {
        true
    }

    fn is_closing(&self) -> bool {
        false
    }

    fn decided(&self, _: RunId<'_>, _: &RestartDecision, _: u64) {}
}

/// The first run of a child that has to say when it is ready.
async fn explicit(layer: WatchdogLayer, child: impl TaskFactory) -> (TaskContext, Running) {
    let spec = ContextSpec {
        readiness: ReadinessPolicy::Explicit,
        ..ContextSpec::default()
    };
    let child = ServiceBuilder::new().watchdog(layer).service(child);
    let ctx = TaskContext::supervised("/probe".into(), Arc::new(Nobody(Instant::now())), spec);
    let NextRun::Run(ctx) = within(ctx.gate().next_run()).await else {
        panic!("nothing holds it")
    };
    (ctx.clone(), tokio::spawn(child.run(ctx)))
}

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    for layer in [
        WatchdogLayer::new(),
        stale().start_timeout(secs(1)),
        WatchdogLayer::new().stale_after(Duration::MAX),
    ] {
        assert_passes_through(layer).await;
        assert_passes_readiness_errors_through(layer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_beats_is_stale_after_its_time() {
    let began = Instant::now();
    let (ctx, run) = watched(stale(), always(Ends::Deaf.at_once()));
    let failure = failure(run).await;
    assert_eq!(failure.kind(), FailureKind::Unhealthy);
    assert_eq!(failure.to_string(), "no heartbeat for 3s");
    assert_eq!(began.elapsed(), secs(3));
    assert_eq!(ctx.stop_cause(), Some(StopCause::Unhealthy));
    assert_eq!(ctx.snapshot().settings.stale_after, Some(secs(3)));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_run_alive_and_the_last_one_counts() {
    let began = Instant::now();
    let (_, run) = watched(
        stale(),
        service_fn(|ctx: TaskContext| async move {
            for _ in 0..10 {
                tokio::time::sleep(secs(2)).await;
                ctx.heartbeat();
            }
            std::future::pending::<()>().await;
        }),
    );
    assert_eq!(failure(run).await.exit(), TaskExit::Unhealthy);
    assert_eq!(began.elapsed(), secs(20 + 3));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_another_task_keeps_the_run_alive() {
    let (_, run) = watched(
        stale(),
        service_fn(|ctx: TaskContext| async move {
            let own = ctx.clone();
            ctx.spawn(async move {
                loop {
                    own.heartbeat();
                    tokio::time::sleep(secs(1)).await;
                }
            });
            tokio::time::sleep(secs(60)).await;
        }),
    );
    within(run).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stale_run_that_returns_when_told_is_unhealthy_whatever_it_returns() {
    for how in ["ok", "an error", "a panic"] {
        let child = ServiceBuilder::new()
            .restart(RestartType::Transient)
            .watchdog(stale())
            .graceful(secs(5))
            .service(service_fn(move |ctx: TaskContext| async move {
                if ctx.generation() > 1 {
                    return Ok(());
                }
                ctx.cancelled().await;
                assert_ne!(how, "a panic");
                if how == "ok" {
                    return Ok(());
                }
                Err("torn away")
            }));
        let ctx = TaskContext::detached("probe");
        let began = Instant::now();
        within(child.run(ctx.clone())).await.unwrap();
        assert_eq!(began.elapsed(), secs(3), "it ends as soon as it is told");
        let exits = ctx.snapshot().exits;
        assert_eq!(exits[TaskExit::Unhealthy as usize], 1, "{how}: {exits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_shutdown_layer_inside_a_stale_run_has_its_grace_and_stays_unhealthy() {
    let child = ServiceBuilder::new()
        .watchdog(stale())
        .graceful(secs(5))
        .service(always(Ends::Deaf.at_once()));
    let began = Instant::now();
    let run = tokio::spawn(child.run(TaskContext::detached("probe")));
    assert_eq!(failure(run).await.exit(), TaskExit::Unhealthy);
    assert_eq!(began.elapsed(), secs(3 + 5));
}

#[tokio::test(start_paused = true)]
async fn a_stop_by_somebody_else_outweighs_the_verdict() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .fuse(0, secs(600))
        .watchdog(stale())
        .graceful(secs(5))
        .service(service_fn(|ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(4)).await;
        }));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(ctx.stop_cause(), Some(StopCause::Unhealthy));
    ctx.gate().restart().unwrap();
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    let state = ctx.snapshot();
    assert_eq!(state.last_exit.unwrap().exit, TaskExit::Cancelled);
    assert_eq!(state.fuse, None);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stopping_run_need_not_beat() {
    let (ctx, run) = watched(
        stale(),
        service_fn(|ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(60)).await;
        }),
    );
    tokio::time::sleep(secs(2)).await;
    let request = StopRequest::default();
    ctx.gate().stop_run(StopCause::Pause, request);
    within(run).await.unwrap().unwrap();
    assert_eq!(ctx.stop_cause(), Some(StopCause::Pause));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_explicit_readiness_has_its_start_timeout() {
    let began = Instant::now();
    let layer = stale().start_timeout(secs(30));
    let (_, run) = explicit(layer, always(Ends::Deaf.at_once())).await;
    let failure = failure(run).await;
    assert_eq!(failure.exit(), TaskExit::TimedOut);
    let message = "not ready within its start timeout of 30s";
    assert_eq!(failure.to_string(), message);
    assert_eq!(
        began.elapsed(),
        secs(30),
        "a starting run owes no heartbeat"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_ready_in_time_is_left_alone() {
    let layer = WatchdogLayer::new().start_timeout(secs(30));
    let child = service_fn(|ctx: TaskContext| async move {
        tokio::time::sleep(secs(29)).await;
        ctx.mark_ready();
        tokio::time::sleep(secs(60)).await;
    });
    let (ctx, run) = explicit(layer, child).await;
    within(run).await.unwrap().unwrap();
    assert_eq!(ctx.stop_cause(), None);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_immediate_readiness_has_no_start_timeout() {
    let layer = WatchdogLayer::new().start_timeout(secs(1));
    let (_, run) = watched(layer, always(Ends::Ok.after(secs(60))));
    within(run).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_may_be_extended_again_and_again() {
    let layer = WatchdogLayer::new().start_timeout(secs(10));
    let began = Instant::now();
    let child = service_fn(|ctx: TaskContext| async move {
        for _ in 0..5 {
            tokio::time::sleep(secs(8)).await;
            ctx.extend_start(secs(9));
        }
        std::future::pending::<()>().await;
    });
    let (_, run) = explicit(layer, child).await;
    assert_eq!(failure(run).await.exit(), TaskExit::TimedOut);
    assert_eq!(began.elapsed(), secs(5 * 8 + 9));
}

#[tokio::test(start_paused = true)]
async fn an_extension_never_shortens_the_start_timeout() {
    let layer = WatchdogLayer::new().start_timeout(secs(10));
    let began = Instant::now();
    let child = service_fn(|ctx: TaskContext| async move {
        ctx.extend_start(secs(1));
        std::future::pending::<()>().await;
    });
    let (_, run) = explicit(layer, child).await;
    assert_eq!(failure(run).await.exit(), TaskExit::TimedOut);
    assert_eq!(began.elapsed(), secs(10));
}

/// Marks itself ready after a second from a task of its own, while the run itself hangs.
fn made_ready_by_a_helper() -> impl TaskFactory<Error = BoxError> {
    service_fn(|ctx: TaskContext| async move {
        let own = ctx.clone();
        ctx.spawn(async move {
            tokio::time::sleep(secs(1)).await;
            own.mark_ready();
        });
        std::future::pending::<()>().await;
    })
}

#[tokio::test(start_paused = true)]
async fn liveness_counts_from_readiness_even_if_another_task_said_it() {
    for layer in [stale(), stale().start_timeout(secs(30))] {
        let began = Instant::now();
        let (_, run) = explicit(layer, made_ready_by_a_helper()).await;
        assert_eq!(failure(run).await.exit(), TaskExit::Unhealthy);
        assert_eq!(began.elapsed(), secs(1 + 3), "{layer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_grace_is_dropped_before_its_end_is_told() {
    let held = Arc::new(());
    let seen = held.clone();
    let child = service_fn(move |_| {
        let held = held.clone();
        async move {
            let _held = held;
            std::future::pending::<()>().await;
        }
    });
    let child = ServiceBuilder::new().watchdog(stale()).service(child);
    let mut run = tokio_test::task::spawn(child.run(TaskContext::detached("probe")));
    assert!(run.poll().is_pending());
    let alive = Arc::strong_count(&seen);
    tokio::time::advance(secs(3)).await;
    assert!(run.is_woken() && run.poll().is_ready());
    assert_eq!(Arc::strong_count(&seen), alive - 1);
}

#[tokio::test(start_paused = true)]
async fn each_run_is_watched_anew() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .watchdog(stale())
        .service(always(Ends::Deaf.at_once()));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let life = tokio::spawn(child.run(ctx.clone()));
    for generation in 1..5 {
        let next = within(ctx.gate().ran_again(generation)).await;
        assert_eq!(next, Ok(generation + 1));
        assert_eq!(began.elapsed(), secs(3 * generation));
        settle().await;
    }
    life.abort();
}

#[test]
fn no_limits_no_timer() {
    // A runtime without a timer: to make one would panic.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let child = ServiceBuilder::new()
        .watchdog(WatchdogLayer::new().start_timeout(secs(30)))
        .service(service_fn(|_| tokio::task::yield_now()));
    runtime
        .block_on(child.run(TaskContext::detached("probe")))
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_is_told_how_often_to_beat() {
    let told = |limits: WatchdogLayer| async move {
        let child =
            ServiceBuilder::new().layer(limits).service(service_fn(
                |ctx: TaskContext| async move {
                    Err::<(), _>(format!("{:?}", ctx.heartbeat_interval()))
                },
            ));
        let error = child.run(TaskContext::detached("c")).await.unwrap_err();
        error.to_string()
    };
    let watched = WatchdogLayer::new().stale_after(secs(3));
    assert_eq!(told(watched).await, "Some(1s)");
    let said = watched.heartbeat_interval(ms(200));
    assert_eq!(told(said).await, "Some(200ms)");
    assert_eq!(told(WatchdogLayer::new()).await, "None");
}
