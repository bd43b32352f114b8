//! So many failures pass within a window, the next one blows the fuse.

mod scripted;

use scripted::{
    Ends, PanicsIn, always, assert_passes_readiness_errors_through, assert_passes_through, script,
    within,
};
use supervisor_layers::{
    Backoff, BoxError, FailureKind, Fuse, FuseLayer, FuseLimit, Jitter, RestartType,
    ServiceBuilderExt, StopCause, TaskContext, TaskExit, TaskFactory, TaskFactoryExt, TaskFailure,
    WatchdogLayer, ms, secs, service_fn,
};
use tokio::time::Instant;
use tower::ServiceBuilder;

const PERMANENT: RestartType = RestartType::Permanent;
const TRANSIENT: RestartType = RestartType::Transient;

fn every(delay: std::time::Duration) -> Backoff {
    Backoff::constant(delay).jitter(Jitter::None)
}

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    for layer in [
        FuseLayer::new(0, secs(1)),
        FuseLayer::limit(None),
        FuseLayer::shared(Fuse::new(0, secs(1))),
    ] {
        assert_passes_through(layer.clone()).await;
        assert_passes_readiness_errors_through(layer);
    }
}

#[tokio::test(start_paused = true)]
async fn n_failures_pass_and_the_next_one_ends_the_life_with_its_source() {
    for n in [0, 1, 5] {
        let child = ServiceBuilder::new()
            .restart(TRANSIENT)
            .fuse(n, secs(60))
            .service(always(Ends::Err.at_once()));
        let ctx = TaskContext::detached("probe");
        let error = within(child.run(ctx.clone())).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::GaveUp);
        let source = std::error::Error::source(&error).expect("the last failure");
        assert_eq!(source.to_string(), "broken");
        let state = ctx.snapshot();
        assert_eq!(state.generation, u64::from(n) + 1);
        let fuse = state.fuse.expect("it was charged");
        assert_eq!((fuse.used, fuse.blown), (n + 1, true));
        assert_eq!(state.settings.fuse.map(|limit| limit.failures), Some(n));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_exactly_as_old_as_the_window_counts_and_an_older_one_does_not() {
    let fails_every_20s = |window| {
        ServiceBuilder::new()
            .restart(PERMANENT)
            .fuse(2, window)
            .backoff(every(secs(20)))
            .service(script([Ends::Err.at_once(); 30]))
    };
    let ctx = TaskContext::detached("inclusive");
    let error = within(fails_every_20s(secs(40)).run(ctx.clone())).await;
    assert_eq!(error.unwrap_err().kind(), FailureKind::GaveUp);
    assert_eq!(ctx.generation(), 1);
    assert_eq!(ctx.snapshot().generation, 3);

    let ctx = TaskContext::detached("older");
    let life = tokio::spawn(fails_every_20s(ms(39_999)).run(ctx.clone()));
    assert_eq!(within(ctx.gate().ready()).await, Ok(31));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn completions_of_a_permanent_child_count_like_failures() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .fuse(3, secs(600))
        .service(always(Ends::Ok.after(secs(59))));
    let ctx = TaskContext::detached("probe");
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    assert_eq!(ctx.snapshot().generation, 4);
    assert!(std::error::Error::source(&error).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_completion_after_the_healthy_time_counts_for_nothing() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .fuse(0, secs(6000))
        .backoff(every(secs(1)).reset_after(secs(10)))
        .service(script([Ends::Ok.after(ms(10_001)); 20]));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    while within(ctx.gate().ready()).await != Ok(21) {
        let generation = ctx.snapshot().generation;
        within(ctx.gate().ran_again(generation)).await.unwrap();
    }
    assert_eq!(ctx.snapshot().fuse, None);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_however_long_the_run_was_healthy() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .fuse(1, secs(86_000))
        .service(always(Ends::Err.after(secs(3600))));
    let ctx = TaskContext::detached("probe");
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    assert_eq!(ctx.snapshot().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn the_completion_of_a_transient_child_counts_for_nothing() {
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .fuse(0, secs(60))
        .service(always(Ends::Ok.at_once()));
    let ctx = TaskContext::detached("probe");
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(ctx.snapshot().fuse, None);
}

/// Every way in which a run can end once it is asked to stop.
fn ends_when_stopped(how: Ends) -> impl TaskFactory<Error = BoxError> {
    service_fn(move |ctx| async move {
        ctx.cancelled().await;
        match how {
            Ends::Ok => Ok(()),
            Ends::Panic => panic!("while stopping"),
            _ => Err("while stopping"),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stop_by_somebody_else_charges_nothing_however_the_run_ends() {
    for cause in StopCause::ALL {
        for how in [Ends::Ok, Ends::Err, Ends::Panic] {
            let child = ServiceBuilder::new()
                .fuse(0, secs(60))
                .service(ends_when_stopped(how));
            let ctx = TaskContext::detached("probe");
            let run = tokio::spawn(child.run(ctx.clone()));
            scripted::settle().await;
            ctx.gate().stop_run(cause, Default::default());
            let _ = within(run).await.unwrap();
            let charged = ctx.snapshot().fuse.is_some();
            assert_eq!(charged, !cause.is_foreign(), "{cause}, {how:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_while_stopped_by_somebody_else_charges_nothing() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .fuse(0, secs(60))
        .graceful(secs(5))
        .service(always(Ends::Deaf.at_once()));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    within(ctx.gate().ready()).await.unwrap();
    ctx.gate().restart().unwrap();
    assert_eq!(within(ctx.gate().ran_again(1)).await, Ok(2));
    let state = ctx.snapshot();
    assert_eq!(state.last_exit.unwrap().exit, TaskExit::Aborted);
    assert_eq!(state.fuse, None);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(ctx.snapshot().fuse, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_found_unhealthy_charges_once() {
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .fuse(2, secs(600))
        .watchdog(WatchdogLayer::new().stale_after(secs(3)))
        .graceful(secs(1))
        .service(always(Ends::Stopped.at_once()));
    let ctx = TaskContext::detached("probe");
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    let state = ctx.snapshot();
    assert_eq!(state.exits[TaskExit::Unhealthy as usize], 3);
    assert_eq!(state.fuse.unwrap().used, 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_unwinds_through_the_stack_charges_once() {
    for bare in [PanicsIn::Call, PanicsIn::Poll] {
        let child = ServiceBuilder::new()
            .restart(TRANSIENT)
            .fuse(4, secs(600))
            .backoff(every(secs(10)))
            .service(bare);
        let ctx = TaskContext::detached("probe");
        let error = within(child.run(ctx.clone())).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::GaveUp, "{bare:?}");
        let state = ctx.snapshot();
        assert_eq!(
            (state.generation, state.fuse.unwrap().used),
            (5, 5),
            "{bare:?}"
        );
        assert_eq!(state.exits[TaskExit::Panicked as usize], 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_done_for_charges_nothing() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .fuse(4, secs(60))
        .service(PanicsIn::Ready);
    let ctx = TaskContext::detached("probe");
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panic);
    assert_eq!(ctx.snapshot().fuse, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_by_a_timeout_around_the_fuse_charges_once() {
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .timeout(secs(1))
        .fuse(10, secs(60))
        .service(script([Ends::Deaf.at_once(); 4]));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    tokio::time::sleep(ms(4500)).await;
    let state = ctx.snapshot();
    assert_eq!((state.generation, state.fuse.unwrap().used), (5, 4));
    assert_eq!(state.exits[TaskExit::TimedOut as usize], 4);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_fuses_in_one_stack_count_each_on_its_own() {
    // Twice in a row is too much, and so are four a day.
    let stack = |gap| {
        ServiceBuilder::new()
            .restart(TRANSIENT)
            .fuse(3, secs(80_000))
            .fuse(1, secs(10))
            .backoff(every(gap))
            .service(always(Ends::Err.at_once()))
    };
    let quick = TaskContext::detached("quick");
    within(stack(secs(1)).run(quick.clone())).await.unwrap_err();
    assert_eq!(quick.snapshot().generation, 2);
    assert_eq!(quick.snapshot().fuse.unwrap().limit.failures, 1);
    let slow = TaskContext::detached("slow");
    within(stack(secs(60)).run(slow.clone())).await.unwrap_err();
    assert_eq!(slow.snapshot().generation, 4);
    assert_eq!(slow.snapshot().fuse.unwrap().limit.failures, 3);
}

#[tokio::test(start_paused = true)]
async fn children_that_share_a_fuse_count_into_one_window() {
    let upstream = Fuse::new(3, secs(600));
    let child = |phase| {
        let gap = every(secs(10));
        let layers = ServiceBuilder::new().restart(TRANSIENT);
        let layers = layers.layer(FuseLayer::shared(upstream.clone()));
        layers
            .backoff(gap)
            .service(always(Ends::Err.after(secs(phase))))
    };
    let (reader, writer) = (
        TaskContext::detached("reader"),
        TaskContext::detached("writer"),
    );
    let began = Instant::now();
    let reading = tokio::spawn(child(1).run(reader.clone()));
    let writing = tokio::spawn(child(2).run(writer.clone()));
    // Failures at 1 (reader), 2 (writer), 12 (reader), 14 (writer).
    let error = within(writing).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    assert_eq!(began.elapsed(), secs(14));
    assert_eq!(writer.snapshot().generation, 2);
    // The other finds it blown at its own next failure, and not before.
    within(reading).await.unwrap().unwrap_err();
    assert_eq!(began.elapsed(), secs(23));

    upstream.reset();
    assert_eq!(upstream.charge().used, 1);
}

#[tokio::test(start_paused = true)]
async fn a_clone_counts_from_the_start() {
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .fuse(2, secs(60))
        .service(always(Ends::Err.at_once()));
    for id in ["one", "another"] {
        let ctx = TaskContext::detached(id);
        within(child.clone().run(ctx.clone())).await.unwrap_err();
        assert_eq!(ctx.snapshot().generation, 3, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_is_counted_and_nothing_blows() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .layer(FuseLayer::limit(None::<FuseLimit>))
        .service(script([Ends::Err.at_once(); 200]));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    assert_eq!(within(ctx.gate().ready()).await, Ok(201));
    let state = ctx.snapshot();
    assert_eq!((state.fuse, state.settings.fuse), (None, None));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_is_charged_but_outweighs_the_fuse() {
    let child = ServiceBuilder::new()
        .restart(PERMANENT)
        .fuse(0, secs(60))
        .service(always(Ends::Fatal.at_once()));
    let ctx = TaskContext::detached("probe");
    let error: TaskFailure = within(child.run(ctx.clone())).await.unwrap_err();
    assert!(error.is_fatal());
    assert_ne!(error.kind(), FailureKind::GaveUp);
    assert!(ctx.snapshot().fuse.unwrap().blown);
}
