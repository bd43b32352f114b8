//! One child's whole story with these layers alone, in virtual time: it restarts, backs off, blows its
//! fuse, is quarantined, released, and stopped.

use std::time::Duration;

use supervisor_layers::{
    BackoffLayer, BoxError, ChildStatus, FuseLayer, Jitter, ObserveLayer, QuarantineLayer,
    RestartLayer, ShutdownLayer, TaskContext, TaskExit, TaskFactoryExt, TaskResult, ms, secs,
    service_fn,
};
use tokio::time::Instant;
use tower::ServiceBuilder;

/// Has no connection in its first four runs.
async fn consume_queue(ctx: TaskContext) -> TaskResult {
    if ctx.generation() <= 4 {
        return Err("connection refused".into());
    }
    ctx.cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_child_restarts_backs_off_blows_its_fuse_is_held_released_and_stopped() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .layer(QuarantineLayer::until_released())
        .layer(FuseLayer::new(3, Duration::from_secs(60)))
        .layer(BackoffLayer::exponential(ms(100), secs(5)).jitter(Jitter::None))
        .layer(ObserveLayer::new())
        .layer(ShutdownLayer::grace(secs(5)))
        .timeout(secs(3600))
        .service(service_fn(consume_queue));

    let ctx = TaskContext::detached("consumer");
    let gate = ctx.gate();
    let began = Instant::now();
    let life = {
        let ctx = ctx.clone();
        tokio::spawn(async move { child.run(ctx).await })
    };

    // Runs 1 to 4 fail, after 100, 200 and 400 ms; the fourth failure is one too many.
    let held = gate.ready().await.unwrap_err();
    assert!(matches!(held, ChildStatus::Quarantined { .. }), "{held}");
    assert_eq!(began.elapsed(), ms(100 + 200 + 400));
    let snapshot = ctx.snapshot();
    assert_eq!((snapshot.generation, snapshot.restarts()), (4, 3));
    let fuse = snapshot.fuse.unwrap();
    assert_eq!((fuse.used, fuse.limit.failures, fuse.blown), (4, 3, true));

    // Held, it waits for as long as it takes; released, it runs at once, with fuse and backoff as new.
    tokio::time::advance(secs(3600)).await;
    assert_eq!(ctx.snapshot().generation, 4);
    let released = Instant::now();
    gate.release().unwrap();
    assert_eq!(gate.ready().await.unwrap(), 5);
    assert_eq!(released.elapsed(), Duration::ZERO);
    assert_eq!(ctx.snapshot().fuse, None);

    gate.shutdown();
    life.await.unwrap().map_err(BoxError::from).unwrap();
    assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Cancelled);
}
