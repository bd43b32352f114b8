//! A command reaches a child in whatever state it is.

mod support;

use supervisor_layers::{
    BackoffLayer, ChildStatus, HoldReason, Jitter, RestartLayer, StartRateLayer, StopCause,
    TaskContext, TaskFactory, TaskFailure, context::StopRequest, secs, service_fn,
};
use support::{live, settle, within};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceBuilder;

/// Runs until it is stopped.
fn steady() -> impl TaskFactory {
    service_fn(|ctx: TaskContext| async move { ctx.cancelled().await })
}

fn permanent<S: TaskFactory>(child: S) -> impl TaskFactory {
    ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(child)
}

async fn ended(life: JoinHandle<Result<(), TaskFailure>>) -> Result<(), TaskFailure> {
    within(life).await.unwrap()
}

/// The states a child can be in, each reached on a life of its own.
async fn in_state(state: &str) -> (TaskContext, JoinHandle<Result<(), TaskFailure>>) {
    let ctx = TaskContext::detached(state);
    let gate = ctx.gate();
    let backoff = || BackoffLayer::constant(secs(600)).jitter(Jitter::None);
    let life = match state {
        "running" => live(permanent(steady()), &ctx),
        "stopping" => {
            let slow = service_fn(|ctx: TaskContext| async move {
                ctx.cancelled().await;
                if ctx.generation() == 1 {
                    tokio::time::sleep(secs(1)).await;
                }
            });
            let life = live(permanent(slow), &ctx);
            within(gate.ready()).await.unwrap();
            gate.stop_run(StopCause::Sibling, StopRequest::default());
            life
        }
        "backing off" => {
            let fails_once = service_fn(|ctx: TaskContext| async move {
                if ctx.generation() > 1 {
                    ctx.cancelled().await;
                    return Ok(());
                }
                Err("broken")
            });
            let stack = ServiceBuilder::new().layer(backoff()).service(fails_once);
            live(permanent(stack), &ctx)
        }
        "held for its group" => {
            gate.hold_for_group(true);
            let life = live(permanent(steady()), &ctx);
            within(gate.ready()).await.unwrap();
            gate.stop_run(StopCause::Sibling, StopRequest::default());
            life
        }
        "waiting for a permit" => {
            let rate = StartRateLayer::new(1, secs(600));
            let stack = ServiceBuilder::new().layer(rate).service(steady());
            let life = live(permanent(stack), &ctx);
            within(gate.ready()).await.unwrap();
            gate.stop_run(StopCause::Restart, StopRequest::default());
            life
        }
        other => panic!("no state {other}"),
    };
    settle().await;
    (ctx, life)
}

const STATES: [&str; 5] = [
    "running",
    "stopping",
    "backing off",
    "held for its group",
    "waiting for a permit",
];

#[tokio::test(start_paused = true)]
async fn every_state_is_reached_as_it_is_named() {
    for (state, status) in [
        ("running", "running"),
        ("stopping", "stopping"),
        ("backing off", "backing_off"),
        ("held for its group", "waiting"),
        ("waiting for a permit", "waiting"),
    ] {
        let (ctx, life) = in_state(state).await;
        assert_eq!(ctx.gate().status().as_str(), status, "{state}");
        life.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_child_in_every_state() {
    for state in STATES {
        let (ctx, life) = in_state(state).await;
        let generation = ctx.gate().generation();
        let asked = Instant::now();
        ctx.gate().shutdown();
        assert!(ended(life).await.is_ok(), "{state}");
        assert!(asked.elapsed() <= secs(1), "{state}");
        assert_eq!(
            ctx.gate().generation(),
            generation,
            "{state}: no run begins after it"
        );
        assert!(ctx.gate().is_ended() && !ctx.gate().is_active(), "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_a_child_in_every_state_until_it_is_released() {
    for state in STATES {
        let (ctx, life) = in_state(state).await;
        let gate = ctx.gate();
        let generation = gate.generation();
        assert!(gate.pause(), "{state}");
        tokio::time::sleep(secs(3000)).await;
        assert_eq!(gate.status(), ChildStatus::Paused, "{state}");
        assert_eq!(gate.generation(), generation, "{state}");
        assert_eq!(
            gate.restart(),
            None,
            "{state}: a restart does not lift a hold"
        );
        let began = Instant::now();
        assert_eq!(gate.release(), Some(HoldReason::Paused), "{state}");
        gate.hold_for_group(false);
        assert_eq!(
            within(gate.ran_again(generation)).await,
            Ok(generation + 1),
            "{state}"
        );
        assert!(began.elapsed() < secs(1), "{state}: no backoff is left");
        assert_eq!(ctx.attempt(), 1, "{state}");
        gate.shutdown();
        assert!(ended(life).await.is_ok(), "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_holds_a_child_in_every_state_and_ends_by_itself() {
    for state in STATES {
        let (ctx, life) = in_state(state).await;
        let gate = ctx.gate();
        gate.hold_for_group(false);
        settle().await;
        let generation = gate.generation();
        let began = Instant::now();
        assert!(gate.quarantine("poisoned", Some(secs(900))), "{state}");
        assert!(
            !gate.quarantine("again", None),
            "{state}: it is in quarantine already"
        );
        tokio::time::sleep(secs(899)).await;
        let ChildStatus::Quarantined { reason, until } = gate.status() else {
            panic!("{state}: {}", gate.status())
        };
        assert_eq!(
            (&*reason, until),
            ("poisoned", Some(began + secs(900))),
            "{state}"
        );
        tokio::time::sleep_until(began + secs(900)).await;
        settle().await;
        assert_eq!(
            within(gate.ran_again(generation)).await,
            Ok(generation + 1),
            "{state}"
        );
        // The turn of who waited for a start was given back, and is free.
        assert_eq!(began.elapsed(), secs(900), "{state}");
        assert!(!gate.is_held());
        gate.shutdown();
        assert!(ended(life).await.is_ok(), "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_runs_the_child_again_in_every_state() {
    // A start rate is nobody's backoff: it is waited for whoever asks.
    for state in ["running", "stopping", "backing off"] {
        let (ctx, life) = in_state(state).await;
        let gate = ctx.gate();
        let generation = gate.generation();
        let asked = Instant::now();
        assert_eq!(gate.restart(), Some(()), "{state}");
        assert_eq!(
            within(gate.ran_again(generation)).await,
            Ok(generation + 1),
            "{state}"
        );
        assert!(asked.elapsed() <= secs(1), "{state}");
        assert_eq!(ctx.attempt(), 1, "{state}: history is forgotten");
        gate.shutdown();
        assert!(ended(life).await.is_ok(), "{state}");
        assert_eq!(gate.restart(), None, "{state}: ended for good");
    }
}
