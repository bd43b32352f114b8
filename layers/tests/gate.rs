//! What holds a child, what stops it, and how both are lifted.

mod support;

use supervisor_layers::{
    BackoffLayer, ChildStatus, FuseLayer, Gate, HoldReason, Jitter, NextRun, RestartLayer,
    ShutdownLayer, StopCause, TaskContext, TaskExit, TaskFactory, TaskFailure,
    context::{ContextSpec, StartOutcome, StopRequest},
    ms, secs, service_fn,
};
use support::{Counter, live, settle, supervised, within};
use tokio::{task::JoinHandle, time::Instant};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};

/// Runs until it is stopped.
fn steady() -> impl TaskFactory {
    service_fn(|ctx: TaskContext| async move { ctx.cancelled().await })
}

/// Fails at once, every time.
fn broken() -> impl TaskFactory {
    service_fn(|_| async { Err::<(), _>("broken") })
}

fn permanent<S: TaskFactory>(child: S) -> impl TaskFactory {
    ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(child)
}

async fn ended(life: JoinHandle<Result<(), TaskFailure>>) -> Result<(), TaskFailure> {
    within(life).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_the_run_and_a_release_brings_the_next() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let life = live(permanent(steady()), &ctx);
    assert_eq!(within(gate.ready()).await, Ok(1));
    assert!(gate.pause());
    assert!(!gate.pause(), "it is paused already");
    within(gate.down()).await;
    assert_eq!(gate.status(), ChildStatus::Paused);
    assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Cancelled);
    assert_eq!(within(gate.ready()).await, Err(ChildStatus::Paused));
    assert_eq!(gate.release(), Some(HoldReason::Paused));
    assert_eq!(gate.release(), None);
    assert_eq!(within(gate.ran_again(1)).await, Ok(2));
    gate.shutdown();
    gate.shutdown();
    assert!(ended(life).await.is_ok());
    assert!(gate.is_ended());
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_replaces_a_pause_and_not_the_other_way_round() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let life = live(permanent(steady()), &ctx);
    within(gate.ready()).await.unwrap();
    assert!(gate.pause());
    assert!(gate.quarantine("poisoned", None));
    assert!(!gate.pause());
    assert_eq!(ctx.stop_cause(), Some(StopCause::Quarantine), "raised");
    within(gate.down()).await;
    assert_eq!(gate.release(), Some(HoldReason::Quarantined));
    within(gate.ran_again(1)).await.unwrap();
    gate.shutdown();
    assert!(ended(life).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pending_stop_is_only_raised() {
    for first in StopCause::ALL {
        for second in StopCause::ALL {
            let ctx = TaskContext::detached("child");
            ctx.gate().stop_run(first, StopRequest::default());
            ctx.gate().stop_run(second, StopRequest::default());
            assert_eq!(ctx.stop_cause(), Some(first.max(second)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_stopper_can_only_shorten_what_is_left() {
    let ctx = TaskContext::detached("child");
    let now = Instant::now();
    let by = |n, cap| StopRequest {
        at: None,
        deadline: Some(now + secs(n)),
        cap: Some(now + secs(cap)),
        correlation: 0,
    };
    ctx.gate().pause_with(by(10, 20));
    ctx.gate().end(StopCause::Shutdown, by(15, 30));
    assert_eq!(ctx.stop_deadline(), Some(now + secs(10)));
    ctx.extend_stop(secs(60));
    assert_eq!(ctx.stop_deadline(), Some(now + secs(20)));
    ctx.gate().end(StopCause::Shutdown, by(5, 12));
    assert_eq!(ctx.stop_deadline(), Some(now + secs(12)));
}

#[tokio::test(start_paused = true)]
async fn a_release_while_the_run_still_stops_for_the_pause_leads_to_a_new_run() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let slow = service_fn(|ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(2)).await;
    });
    let life = live(permanent(slow), &ctx);
    within(gate.ready()).await.unwrap();
    gate.pause();
    gate.release().unwrap();
    assert_eq!(
        gate.status(),
        ChildStatus::Stopping {
            cause: Some(StopCause::Pause)
        },
        "a stop is not taken back"
    );
    assert_eq!(within(gate.ran_again(1)).await, Ok(2));
    gate.shutdown();
    assert!(ended(life).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_that_is_over_before_the_run_has_stopped_leads_to_a_new_run() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let slow = service_fn(|ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(20)).await;
    });
    let life = live(permanent(slow), &ctx);
    within(gate.ready()).await.unwrap();
    gate.quarantine("poisoned", Some(secs(5)));
    let asked = Instant::now();
    assert_eq!(within(gate.ran_again(1)).await, Ok(2));
    assert_eq!(asked.elapsed(), secs(20), "no two runs overlap");
    gate.shutdown();
    assert!(ended(life).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_without_end_in_sight_is_no_overflow() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let deaf = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(ShutdownLayer::grace(std::time::Duration::MAX))
        .service(steady());
    let life = live(deaf, &ctx);
    within(gate.ready()).await.unwrap();
    ctx.extend_start(std::time::Duration::MAX);
    gate.quarantine("poisoned", Some(std::time::Duration::MAX));
    ctx.extend_stop(std::time::Duration::MAX);
    assert!(ctx.stop_deadline().unwrap() > Instant::now() + secs(1 << 20));
    within(gate.down()).await;
    assert!(gate.is_held());
    gate.shutdown();
    assert!(ended(life).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stop_by_somebody_else_counts_for_nothing() {
    let child = || {
        ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(FuseLayer::new(0, secs(600)))
            .layer(BackoffLayer::constant(secs(600)).jitter(Jitter::None))
            .service(service_fn(|ctx: TaskContext| async move {
                ctx.cancelled().await;
                Err::<(), _>(TaskFailure::fatal("torn down"))
            }))
    };
    for cause in StopCause::ALL
        .into_iter()
        .filter(|cause| cause.is_foreign())
    {
        let ctx = TaskContext::detached("child");
        let gate = ctx.gate();
        let life = live(child(), &ctx);
        within(gate.ready()).await.unwrap();
        let asked = Instant::now();
        gate.stop_run(cause, StopRequest::default());
        assert_eq!(within(gate.ran_again(1)).await, Ok(2), "{cause}");
        assert_eq!(asked.elapsed(), ms(0), "{cause}: no backoff");
        let snapshot = ctx.snapshot();
        assert_eq!(snapshot.fuse, None, "{cause}");
        let last = snapshot.last_exit.unwrap();
        let action = last.decision.unwrap().action;
        assert_eq!(action, supervisor_layers::RestartAction::Stop { cause });
        gate.shutdown();
        assert!(ended(life).await.is_ok(), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_makes_fuse_and_backoff_as_new() {
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(FuseLayer::new(2, secs(6000)))
        .layer(BackoffLayer::exponential(secs(1), secs(600)).jitter(Jitter::None))
        .service(broken());
    let life = live(child, &ctx);
    within(gate.ran_again(1)).await.unwrap();
    settle().await;
    assert_eq!(ctx.snapshot().fuse.unwrap().used, 2);
    assert_eq!(ctx.attempt(), 2);
    gate.pause();
    gate.release().unwrap();
    assert_eq!((ctx.snapshot().fuse, ctx.attempt()), (None, 0));
    within(gate.ran_again(2)).await.unwrap();
    let released = Instant::now();
    let failure = ended(life).await.unwrap_err();
    assert_eq!(failure.kind(), supervisor_layers::FailureKind::GaveUp);
    assert_eq!(gate.generation(), 5, "two pass again");
    assert_eq!(released.elapsed(), secs(3), "one second, then two");
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_brings_back_a_child_whose_life_ended() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let next = next_context(&gate).await;
    gate.end_life(next.generation(), &Err(TaskFailure::fatal("hopeless")))
        .await;
    assert_eq!(gate.status(), ChildStatus::Failed);
    let mut waiting = tokio_test::task::spawn(gate.next_run());
    tokio_test::assert_pending!(waiting.poll());
    // Neither a pause nor its release brings it back.
    assert!(gate.pause());
    gate.release().unwrap();
    tokio_test::assert_pending!(waiting.poll());
    assert_eq!(gate.status(), ChildStatus::Failed);
    assert_eq!(gate.restart(), Some(()));
    assert!(waiting.is_woken());
    let NextRun::Run(run) = tokio_test::assert_ready!(waiting.poll()) else {
        panic!("the gate is open")
    };
    assert_eq!((run.generation(), run.attempt()), (2, 1));
}

async fn next_context(gate: &Gate) -> TaskContext {
    match within(gate.next_run()).await {
        NextRun::Run(run) => run,
        NextRun::End(cause) => panic!("ended for {cause}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_begins_only_when_the_question_for_it_is_answered() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    gate.pause();
    let mut asked = tokio_test::task::spawn(gate.next_run());
    tokio_test::assert_pending!(asked.poll());
    gate.release();
    drop(asked);
    assert_eq!(gate.generation(), 0);
    assert_eq!(next_context(&gate).await.generation(), 1);
    assert_eq!(owner.names(), ["0 paused", "0 resumed", "1 starting"]);
}

#[tokio::test(start_paused = true)]
async fn the_gate_lets_no_run_begin_while_one_is_alive() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let first = next_context(&gate).await;
    let mut asked = tokio_test::task::spawn(gate.next_run());
    tokio_test::assert_pending!(asked.poll());
    gate.reopen(false);
    tokio_test::assert_pending!(asked.poll());
    gate.stop_run(StopCause::Restart, StopRequest::default());
    tokio_test::assert_pending!(asked.poll());
    gate.end_life(first.generation(), &Ok(())).await;
    gate.restart().unwrap();
    assert!(asked.is_woken());
    let NextRun::Run(second) = tokio_test::assert_ready!(asked.poll()) else {
        panic!("the gate is open")
    };
    assert_eq!(second.generation(), 2);
    assert!(first.is_cancelled() && !second.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn runs_of_one_child_never_overlap_whatever_comes_at_it() {
    let alive = Counter::new();
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(ShutdownLayer::grace(ms(20)))
        .service(service_fn({
            let alive = alive.clone();
            move |ctx: TaskContext| {
                let alive = alive.clone();
                async move {
                    assert_eq!(alive.add(), 1);
                    let _end = support::OnDrop(|| alive.sub());
                    if ctx.generation().is_multiple_of(3) {
                        std::future::pending::<()>().await;
                    }
                    let time = ms(ctx.generation() % 7);
                    if ctx
                        .run_until_cancelled(tokio::time::sleep(time))
                        .await
                        .is_none()
                    {
                        tokio::time::sleep(time).await;
                    }
                }
            }
        }));
    let life = live(child, &ctx);
    for step in 0_u64..500 {
        match step % 11 {
            0 | 6 => drop(gate.pause()),
            1 | 7 => drop(gate.release()),
            2 => drop(gate.quarantine("poisoned", Some(ms(3)))),
            3 | 8 => drop(gate.restart()),
            4 => gate.hold_for_group(true),
            5 => gate.hold_for_group(false),
            _ => gate.stop_run(StopCause::Sibling, StopRequest::default()),
        }
        tokio::time::sleep(ms(step * 7 % 5)).await;
    }
    assert!(gate.generation() > 50, "it ran {} times", gate.generation());
    gate.shutdown();
    assert!(ended(life).await.is_ok());
    assert_eq!(ctx.snapshot().exits[TaskExit::Panicked as usize], 0);
    assert_eq!(alive.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_run_begins_under_a_supervisor_that_closes() {
    let (owner, ctx) = supervised(ContextSpec::default());
    owner
        .closing
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let NextRun::End(cause) = within(ctx.gate().next_run()).await else {
        panic!("a run began")
    };
    assert_eq!(cause, StopCause::Shutdown);
    assert_eq!(ctx.gate().generation(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_answered_while_leftovers_of_a_run_go_on() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let run = next_context(&gate).await;
    let (stay, leave) = std::sync::mpsc::channel::<()>();
    let (up, started) = tokio::sync::oneshot::channel();
    run.spawn_blocking(move || {
        let _ = up.send(());
        let _ = leave.recv();
    });
    started.await.unwrap();
    // Its driver was dropped while it waited for the helper.
    let mut ending = tokio_test::task::spawn(gate.end_life(1, &Ok(())));
    tokio_test::assert_pending!(ending.poll());
    drop(ending);
    let mut asked = tokio_test::task::spawn(gate.next_run());
    tokio_test::assert_pending!(asked.poll());
    gate.shutdown();
    assert!(asked.is_woken());
    let answer = tokio_test::assert_ready!(asked.poll());
    assert!(matches!(answer, NextRun::End(StopCause::Shutdown)));
    drop(stay);
}

#[tokio::test(start_paused = true)]
async fn a_start_is_told_with_its_outcome() {
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let explicit = ContextSpec {
        readiness: supervisor_layers::ReadinessPolicy::Explicit,
        ..ContextSpec::default()
    };
    let (_, ctx) = supervised(explicit);
    let gate = ctx.gate();
    let stack =
        ServiceBuilder::new()
            .layer(limit)
            .service(service_fn(|ctx: TaskContext| async move {
                if ctx.generation() == 2 {
                    return;
                }
                tokio::time::sleep(secs(2)).await;
                ctx.mark_ready();
                ctx.cancelled().await;
            }));
    let began = Instant::now();
    let run = next_context(&gate).await;
    let life = live(permanent(stack), &run);
    assert_eq!(within(gate.started(0)).await, StartOutcome::Started);
    assert_eq!(began.elapsed(), secs(2));
    gate.pause();
    within(gate.down()).await;
    assert_eq!(within(gate.started(1)).await, StartOutcome::Held);
    gate.hold_for_group(true);
    gate.release();
    let mut outcome = tokio_test::task::spawn(gate.started(1));
    tokio_test::assert_pending!(outcome.poll());
    gate.hold_for_group(false);
    // The second run ends before it is ready; it is permanent, and the third is.
    assert_eq!(within(outcome).await, StartOutcome::Started);
    assert_eq!(gate.generation(), 3);
    gate.end(StopCause::Removal, StopRequest::default());
    assert!(ended(life).await.is_ok());
    assert_eq!(
        within(gate.started(3)).await,
        StartOutcome::Ending(StopCause::Removal)
    );
}
