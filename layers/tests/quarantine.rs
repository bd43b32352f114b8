//! A child whose fuse blew is held, visible, until somebody or the time given releases it.

mod scripted;

use std::time::Duration;

use scripted::{
    Ends, always, assert_passes_readiness_errors_through, assert_passes_through, script, settle,
    within,
};
use supervisor_layers::{
    Backoff, BoxError, ChildStatus, FailureKind, Fuse, FuseLayer, HoldReason, Jitter,
    QuarantineLayer, RestartAction, RestartType, ServiceBuilderExt, TaskContext, TaskFactory,
    TaskFactoryExt, ms, secs, task::CatchPanic,
};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceBuilder;

type Life = JoinHandle<Result<(), BoxError>>;

/// Two failures within a minute pass.
fn under(layer: QuarantineLayer, child: impl TaskFactory) -> impl TaskFactory<Error = BoxError> {
    CatchPanic::new(
        ServiceBuilder::new()
            .restart(RestartType::Transient)
            .layer(layer)
            .fuse(2, secs(60))
            .backoff(Backoff::linear(secs(1), secs(9)).jitter(Jitter::None))
            .service(child),
    )
}

async fn held(layer: QuarantineLayer) -> (TaskContext, Life) {
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(under(layer, always(Ends::Err.at_once())).run(ctx.clone()));
    let status = within(ctx.gate().ready()).await.unwrap_err();
    assert!(matches!(status, ChildStatus::Quarantined { .. }));
    (ctx, life)
}

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    for layer in [
        QuarantineLayer::until_released(),
        QuarantineLayer::release_after(secs(1)),
        QuarantineLayer::off(),
    ] {
        assert_passes_through(layer).await;
        assert_passes_readiness_errors_through(layer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blown_fuse_holds_the_child_and_the_state_says_why() {
    let (ctx, life) = held(QuarantineLayer::until_released()).await;
    let state = ctx.snapshot();
    assert_eq!(
        state.status,
        ChildStatus::Quarantined {
            reason: "fuse blown: more than 2 in 60s".into(),
            until: None
        }
    );
    assert_eq!(state.settings.quarantine, Some(None));
    assert!(state.fuse.unwrap().blown);
    let decision = state.last_exit.unwrap().decision.unwrap();
    assert_eq!(
        decision.action,
        RestartAction::Quarantine {
            release_after: None
        }
    );
    tokio::time::sleep(secs(3600)).await;
    assert!(ctx.gate().is_held() && !life.is_finished());
    assert_eq!(ctx.gate().generation(), 3);
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_release_by_hand_starts_the_child_at_once_with_fuse_and_backoff_as_new() {
    let (ctx, life) = held(QuarantineLayer::until_released()).await;
    let released = Instant::now();
    assert_eq!(ctx.gate().release(), Some(HoldReason::Quarantined));
    assert_eq!(within(ctx.gate().ran_again(3)).await, Ok(4));
    assert_eq!(released.elapsed(), secs(0));
    let status = within(ctx.gate().ready()).await.unwrap_err();
    assert!(matches!(status, ChildStatus::Quarantined { .. }));
    // Two more failures have passed, after delays of one and two seconds.
    assert_eq!(ctx.gate().generation(), 6);
    assert_eq!(released.elapsed(), secs(3));
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_for_a_time_releases_by_itself_with_fuse_and_backoff_as_new() {
    let (ctx, life) = held(QuarantineLayer::release_after(secs(10))).await;
    let began = Instant::now();
    let ChildStatus::Quarantined { until, .. } = ctx.gate().status() else {
        panic!("it is held")
    };
    assert_eq!(until, Some(began + secs(10)));
    assert_eq!(
        ctx.snapshot().settings.quarantine,
        Some(Some(Duration::from_secs(10)))
    );
    tokio::time::sleep(ms(9_999)).await;
    assert!(ctx.gate().is_held());
    tokio::time::sleep(ms(2)).await;
    assert!(!ctx.gate().is_held());
    assert_eq!(ctx.gate().generation(), 4);
    let status = within(ctx.gate().ready()).await.unwrap_err();
    assert!(matches!(status, ChildStatus::Quarantined { .. }));
    assert_eq!(ctx.gate().generation(), 6, "two more failures have passed");
    assert_eq!(began.elapsed(), secs(13));
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_release_by_hand_comes_before_the_time() {
    let (ctx, life) = held(QuarantineLayer::release_after(secs(10))).await;
    let began = Instant::now();
    tokio::time::sleep(secs(4)).await;
    ctx.gate().release().unwrap();
    assert_eq!(within(ctx.gate().ran_again(3)).await, Ok(4));
    assert_eq!(began.elapsed(), secs(4));
    // The next quarantine has its own ten seconds, not what was left of the first.
    let status = within(ctx.gate().ready()).await.unwrap_err();
    let ChildStatus::Quarantined { until, .. } = status else {
        panic!("it is held")
    };
    assert_eq!(until, Some(Instant::now() + secs(10)));
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_held_child_ends_at_once_at_a_shutdown() {
    let (ctx, life) = held(QuarantineLayer::until_released()).await;
    let began = Instant::now();
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_does_not_end_a_quarantine() {
    let (ctx, life) = held(QuarantineLayer::until_released()).await;
    assert_eq!(ctx.gate().restart(), None);
    settle().await;
    assert!(ctx.gate().is_held());
    assert_eq!(ctx.gate().generation(), 3);
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn turned_off_it_lets_the_life_end() {
    let ctx = TaskContext::detached("probe");
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .layer(QuarantineLayer::off())
        .fuse(2, secs(60))
        .service(always(Ends::Err.at_once()));
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    assert_eq!(ctx.gate().status(), ChildStatus::Failed);
    assert_eq!(ctx.snapshot().settings.quarantine, None);
}

#[tokio::test(start_paused = true)]
async fn it_holds_nothing_but_a_child_whose_fuse_blew() {
    for (ends, expected) in [
        (Ends::Ok, ChildStatus::Finished),
        (Ends::Fatal, ChildStatus::Failed),
    ] {
        let ctx = TaskContext::detached("probe");
        let child = under(
            QuarantineLayer::until_released(),
            script([Ends::Err.at_once(), ends.at_once()]),
        );
        assert_eq!(
            within(child.run(ctx.clone())).await.is_ok(),
            ends == Ends::Ok
        );
        assert_eq!(ctx.gate().status(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_last_run_is_held_like_an_error() {
    let ctx = TaskContext::detached("probe");
    let child = under(
        QuarantineLayer::until_released(),
        always(Ends::Panic.at_once()),
    );
    let life = tokio::spawn(child.run(ctx.clone()));
    let status = within(ctx.gate().ready()).await.unwrap_err();
    assert!(matches!(status, ChildStatus::Quarantined { .. }));
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn a_last_run_dropped_by_a_timeout_is_held_too() {
    let ctx = TaskContext::detached("probe");
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .timeout(secs(1))
        .quarantine(None)
        .fuse(2, secs(60))
        .service(always(Ends::Deaf.at_once()));
    let life = tokio::spawn(child.run(ctx.clone()));
    while !ctx.gate().is_held() {
        let generation = ctx.gate().generation();
        let _ = within(ctx.gate().ran_again(generation)).await;
    }
    assert_eq!(ctx.gate().generation(), 3);
    life.abort();
}

#[tokio::test(start_paused = true)]
async fn an_endless_time_is_no_panic() {
    let (ctx, life) = held(QuarantineLayer::release_after(Duration::MAX)).await;
    assert!(ctx.gate().is_held());
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_release_leaves_a_shared_fuse_to_its_owner() {
    let shared = Fuse::new(2, secs(3600));
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .quarantine(None)
        .layer(FuseLayer::shared(shared.clone()))
        .service(always(Ends::Err.at_once()));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    for (reset, runs) in [(false, 3), (false, 4), (true, 7)] {
        if reset {
            shared.reset();
        }
        ctx.gate().release();
        within(ctx.gate().ready()).await.unwrap_err();
        assert_eq!(ctx.gate().generation(), runs);
    }
    life.abort();
}
