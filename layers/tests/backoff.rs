//! After a failure the next run waits: as long as the policy says, and no longer than somebody lets it.

mod scripted;
mod support;

use std::{sync::Arc, time::Duration};

use scripted::{
    Ends, Run, always, assert_passes_readiness_errors_through, assert_passes_through, script,
    settle, within,
};
use supervisor_layers::{
    Backoff, BackoffLayer, BoxError, ChildStatus, Jitter, LifecycleEvent, RestartType,
    ServiceBuilderExt, StartRateLayer, StopCause, TaskContext, TaskExit, TaskFactory,
    TaskFactoryExt,
    context::{ContextSpec, NextRun},
    ms, secs, service_fn,
};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_test::mock;

const FAILS: Run = Run {
    lasts: Duration::ZERO,
    ends: Ends::Err,
};

fn under(policy: Backoff, child: impl TaskFactory) -> impl TaskFactory<Error = BoxError> {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .backoff(policy)
        .service(child);
    supervisor_layers::task::CatchPanic::new(child)
}

/// Runs the script; answers the gaps between the end of a run and the next start.
async fn delays(id: &str, policy: Backoff, runs: &[Run]) -> Vec<Duration> {
    delays_of(TaskContext::detached(id), policy, runs).await
}

async fn delays_of(ctx: TaskContext, policy: Backoff, runs: &[Run]) -> Vec<Duration> {
    let life = tokio::spawn(under(policy, script(runs)).run(ctx.clone()));
    let mut gaps = Vec::new();
    let mut last = Instant::now();
    for (run, generation) in runs.iter().zip(1..) {
        within(ctx.gate().ran_again(generation)).await.unwrap();
        let now = Instant::now();
        gaps.push(now - last - run.lasts);
        last = now;
    }
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    gaps
}

fn in_ms(delays: &[Duration]) -> Vec<u128> {
    delays.iter().map(Duration::as_millis).collect()
}

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    for layer in [
        BackoffLayer::constant(secs(1)),
        BackoffLayer::new(None::<Backoff>),
    ] {
        assert_passes_through(layer).await;
        assert_passes_readiness_errors_through(layer);
    }
}

#[tokio::test(start_paused = true)]
async fn without_jitter_each_kind_waits_exactly_as_long_as_its_curve_says() {
    for (policy, expected) in [
        (Backoff::constant(ms(70)), [70, 70, 70, 70, 70]),
        (Backoff::linear(ms(50), ms(180)), [50, 100, 150, 180, 180]),
        (
            Backoff::exponential(ms(100), secs(1)),
            [100, 200, 400, 800, 1000],
        ),
        (
            Backoff::exponential(ms(10), secs(1)).factor(3.0),
            [10, 30, 90, 270, 810],
        ),
        (
            Backoff::exponential(ms(100), secs(1)).immediate_first(),
            [0, 100, 200, 400, 800],
        ),
        (Backoff::constant(ms(0)), [0; 5]),
    ] {
        let waited = delays("probe", policy.jitter(Jitter::None), &[FAILS; 5]).await;
        assert_eq!(in_ms(&waited), expected, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decorrelated_delay_lies_between_the_first_and_three_times_the_one_before() {
    let policy = Backoff::decorrelated(ms(100), secs(5)).seed(7);
    let waited = delays("probe", policy, &[FAILS; 40]).await;
    let mut before = ms(0);
    for delay in &waited {
        // Timers fire at whole milliseconds.
        assert!(*delay >= ms(100) && *delay <= (before * 3).clamp(ms(100), secs(5)) + ms(4));
        before = *delay;
    }
    let distinct: std::collections::BTreeSet<_> = waited.iter().collect();
    assert!(distinct.len() > 10, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn panics_and_early_completions_wait_like_errors() {
    let policy = Backoff::linear(ms(100), secs(5)).jitter(Jitter::None);
    let runs = [Ends::Panic.at_once(), FAILS, Ends::Ok.at_once(), FAILS];
    assert_eq!(
        in_ms(&delays("probe", policy, &runs).await),
        [100, 200, 300, 400]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_by_a_timeout_around_it_waits_like_an_error() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .timeout(secs(1))
        .backoff(Backoff::linear(ms(500), secs(5)).jitter(Jitter::None))
        .service(script([Ends::Deaf.at_once(); 3]));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let life = tokio::spawn(child.run(ctx.clone()));
    assert_eq!(within(ctx.gate().ran_again(3)).await, Ok(4));
    assert_eq!(began.elapsed(), ms(3000 + 500 + 1000 + 1500));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_healthy_run_starts_the_curve_anew_whatever_its_end() {
    let policy = Backoff::exponential(ms(100), secs(9))
        .jitter(Jitter::None)
        .reset_after(secs(10));
    let runs = [FAILS, FAILS, Ends::Err.after(secs(10)), FAILS];
    assert_eq!(
        in_ms(&delays("failed", policy, &runs).await),
        [100, 200, 100, 200]
    );
    let runs = [FAILS, FAILS, Ends::Err.after(ms(9_999)), FAILS];
    assert_eq!(
        in_ms(&delays("too short", policy, &runs).await),
        [100, 200, 400, 800]
    );
    let runs = [FAILS, FAILS, Ends::Ok.after(secs(11)), FAILS];
    assert_eq!(
        in_ms(&delays("completed", policy, &runs).await),
        [100, 200, 0, 100]
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_restart_after_a_healthy_run_is_immediate_again() {
    let policy = Backoff::exponential(ms(100), secs(9))
        .jitter(Jitter::None)
        .immediate_first()
        .reset_after(secs(10));
    let runs = [FAILS, FAILS, Ends::Err.after(secs(10)), FAILS];
    assert_eq!(
        in_ms(&delays("probe", policy, &runs).await),
        [0, 100, 0, 100]
    );
}

/// Fails at its first two runs, then fails or not when it is stopped, then fails by itself.
fn stopped_in_its_third_run(how: Ends) -> impl TaskFactory<Error = BoxError> {
    service_fn(move |ctx| async move {
        if ctx.generation() == 3 {
            ctx.cancelled().await;
            if how == Ends::Ok {
                return Ok(());
            }
        }
        Err("broken")
    })
}

#[tokio::test(start_paused = true)]
async fn a_stop_by_somebody_else_neither_delays_nor_changes_the_curve() {
    let policy = Backoff::exponential(ms(100), secs(9)).jitter(Jitter::None);
    for how in [Ends::Ok, Ends::Err] {
        let ctx = TaskContext::detached("probe");
        let child = ServiceBuilder::new()
            .restart(RestartType::Permanent)
            .backoff(policy)
            .service(stopped_in_its_third_run(how));
        let life = tokio::spawn(child.run(ctx.clone()));
        within(ctx.gate().ran_again(2)).await.unwrap();
        settle().await;
        let stopped = Instant::now();
        ctx.gate().stop_run(StopCause::Sibling, Default::default());
        assert_eq!(within(ctx.gate().ran_again(3)).await, Ok(4));
        assert_eq!(stopped.elapsed(), ms(0), "{how:?}");
        // The failure after it is the third in a row.
        assert_eq!(within(ctx.gate().ran_again(4)).await, Ok(5));
        assert_eq!(stopped.elapsed(), ms(400), "{how:?}");
        ctx.gate().shutdown();
        within(life).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_run_that_somebody_else_stopped_starts_the_curve_anew() {
    let policy = Backoff::exponential(ms(100), secs(9))
        .jitter(Jitter::None)
        .reset_after(secs(10));
    let ctx = TaskContext::detached("probe");
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .backoff(policy)
        .service(stopped_in_its_third_run(Ends::Err));
    let life = tokio::spawn(child.run(ctx.clone()));
    within(ctx.gate().ran_again(2)).await.unwrap();
    tokio::time::sleep(secs(10)).await;
    ctx.gate().stop_run(StopCause::Sibling, Default::default());
    within(ctx.gate().ran_again(3)).await.unwrap();
    let failed = Instant::now();
    within(ctx.gate().ran_again(4)).await.unwrap();
    assert_eq!(failed.elapsed(), ms(100));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn jitter_differs_between_children_and_attempts_and_repeats_with_its_seed() {
    let policy = Backoff::constant(secs(100)).jitter(Jitter::Full);
    let seeded = policy.seed(42);
    let one = delays("one", seeded, &[FAILS; 4]).await;
    assert_eq!(one, delays("one", seeded, &[FAILS; 4]).await);
    let another = delays("another", seeded, &[FAILS; 4]).await;
    for i in 0..4 {
        assert_ne!(one[i], another[i], "two children");
        for j in 0..i {
            assert_ne!(one[i], one[j], "two attempts");
        }
    }
    assert_ne!(one, delays("one", policy.seed(43), &[FAILS; 4]).await);
    let (free, other) = (
        delays("one", policy, &[FAILS; 4]).await,
        delays("another", policy, &[FAILS; 4]).await,
    );
    assert_ne!(free, other, "without a seed children differ too");
}

#[tokio::test(start_paused = true)]
async fn an_owners_seed_makes_jitter_repeatable_where_the_policy_has_none() {
    async fn under_seed(seed: Option<u64>, policy: Backoff) -> Vec<Duration> {
        let mut owner = support::Recorder::default();
        owner.jitter_seed = seed;
        let ctx = TaskContext::supervised("/c".into(), Arc::new(owner), ContextSpec::default());
        let NextRun::Run(ctx) = ctx.gate().next_run().await else {
            panic!("nothing holds it")
        };
        delays_of(ctx, policy, &[FAILS; 4]).await
    }
    let policy = Backoff::constant(secs(100)).jitter(Jitter::Full);
    let seven = under_seed(Some(7), policy).await;
    assert_eq!(seven, under_seed(Some(7), policy).await);
    assert_ne!(seven, under_seed(Some(8), policy).await);
    let own = under_seed(None, policy.seed(42)).await;
    assert_ne!(own, seven);
    assert_eq!(own, under_seed(Some(7), policy.seed(42)).await);
}

#[tokio::test(start_paused = true)]
async fn each_jitter_stays_within_its_bounds() {
    let policy = Backoff::exponential(secs(10), secs(1000)).factor(1.0);
    let range = async |jitter| {
        let waited = delays("probe", policy.jitter(jitter).seed(1), &[FAILS; 60]).await;
        let least = waited.iter().min().unwrap().as_secs_f64();
        (least, waited.iter().max().unwrap().as_secs_f64())
    };
    assert_eq!(range(Jitter::None).await, (10.0, 10.0));
    let (least, most) = range(Jitter::Ratio(0.2)).await;
    assert!((8.0..9.0).contains(&least) && (11.0..=12.001).contains(&most));
    let (least, most) = range(Jitter::Full).await;
    assert!(least < 1.0 && (9.0..=10.001).contains(&most));
    let (least, most) = range(Jitter::Equal).await;
    assert!((5.0..5.5).contains(&least) && (9.5..=10.001).contains(&most));
}

/// A child in its first backoff of an hour.
async fn backing_off() -> (
    TaskContext,
    tokio::task::JoinHandle<Result<(), BoxError>>,
    Instant,
) {
    let policy = Backoff::exponential(secs(3600), secs(36_000)).jitter(Jitter::None);
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(under(policy, always(FAILS)).run(ctx.clone()));
    settle().await;
    (ctx, life, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn the_state_says_until_when_the_child_backs_off() {
    let (ctx, life, began) = backing_off().await;
    let until = began + secs(3600);
    assert_eq!(ctx.snapshot().status, ChildStatus::BackingOff { until });
    let last = ctx.snapshot().last_exit.expect("it failed");
    let delay = last.decision.and_then(|decision| decision.backoff).unwrap();
    assert_eq!(
        (delay.before_jitter, delay.after_jitter),
        (secs(3600), secs(3600))
    );
    within(ctx.gate().ran_again(1)).await.unwrap();
    assert_eq!(Instant::now(), until);
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_backoff_is_over_and_that_may_not_start_yet_waits() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Permanent)
        .layer(BackoffLayer::constant(secs(1)).jitter(Jitter::None))
        .layer(StartRateLayer::new(1, secs(600)))
        .service(always(FAILS));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    settle().await;
    let until = Instant::now() + secs(1);
    assert_eq!(ctx.gate().status(), ChildStatus::BackingOff { until });
    tokio::time::sleep(secs(5)).await;
    assert_eq!(ctx.gate().status(), ChildStatus::Waiting);
    let snapshot = ctx.snapshot();
    assert_eq!(
        (snapshot.status, snapshot.since),
        (ChildStatus::Waiting, until)
    );
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_ends_the_wait_at_once_and_starts_the_curve_anew() {
    let (ctx, life, began) = backing_off().await;
    ctx.gate().restart().unwrap();
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    assert_eq!(began.elapsed(), secs(0));
    within(ctx.gate().ran_again(2)).await.unwrap();
    assert_eq!(began.elapsed(), secs(3600), "as after a first failure");
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_the_wait_and_its_release_starts_the_child_at_once() {
    let (ctx, life, began) = backing_off().await;
    assert!(ctx.gate().pause());
    settle().await;
    assert_eq!(ctx.gate().status(), ChildStatus::Paused);
    tokio::time::sleep(secs(4000)).await;
    assert_eq!(
        ctx.gate().generation(),
        1,
        "a paused child stays down when its delay is over"
    );
    ctx.gate().release().unwrap();
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    assert_eq!(began.elapsed(), secs(4000));
    within(ctx.gate().ran_again(2)).await.unwrap();
    assert_eq!(began.elapsed(), secs(7600), "as after a first failure");
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_wait_and_the_life_at_once() {
    let (ctx, life, began) = backing_off().await;
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), secs(0));
    assert_eq!(ctx.snapshot().generation, 1);
    assert_eq!(ctx.snapshot().exits[TaskExit::Failed as usize], 1);
}

#[tokio::test(start_paused = true)]
async fn a_clone_waits_for_nothing() {
    let layer = BackoffLayer::constant(secs(5)).jitter(Jitter::None);
    let (mut service, mut child) = mock::spawn_layer::<TaskContext, (), _>(layer);
    assert!(service.poll_ready().is_ready());
    let mut run = tokio_test::task::spawn(service.call(TaskContext::detached("probe")));
    let (_, response) = within(child.next_request()).await.unwrap();
    response.send_error("broken");
    assert!(run.poll().is_ready());
    assert!(service.poll_ready().is_pending());
    assert!(service.clone().poll_ready().is_ready());
    tokio::time::advance(secs(5)).await;
    assert!(service.is_woken() && service.poll_ready().is_ready());
}

#[test]
fn no_delay_no_timer() {
    // A runtime without a timer: to make one would panic.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .backoff(Backoff::constant(ms(0)))
        .service(script([FAILS, FAILS, Ends::Ok.at_once()]));
    let ctx = TaskContext::detached("probe");
    runtime.block_on(child.run(ctx.clone())).unwrap();
    assert_eq!(ctx.snapshot().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn the_event_says_the_delay_in_milliseconds() {
    let event = serde_json::to_value(LifecycleEvent::BackingOff { delay: ms(1500) }).unwrap();
    assert_eq!(
        event,
        serde_json::json!({ "type": "backing_off", "delay_ms": 1500 })
    );
}

#[tokio::test(start_paused = true)]
async fn an_endless_delay_is_no_panic() {
    let policy = Backoff::constant(Duration::MAX).jitter(Jitter::None);
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(under(policy, always(FAILS)).run(ctx.clone()));
    settle().await;
    let status = ctx.gate().status();
    assert!(matches!(status, ChildStatus::BackingOff { .. }), "{status}");
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}
