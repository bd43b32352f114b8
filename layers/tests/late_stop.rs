//! What comes when a run has ended by itself and only its helpers are still being ended.

mod support;

use std::sync::{Arc, Mutex, mpsc};

use supervisor_layers::{
    BackoffLayer, ChildStatus, FuseLayer, Gate, HoldReason, Jitter, NextRun, QuarantineLayer,
    RestartAction, RestartLayer, StopCause, TaskContext, TaskExit, TaskFactory, TaskFailure,
    TaskResult,
    context::{ContextSpec, StopRequest},
    secs, service_fn,
};
use support::{live, supervised, within};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceBuilder;

/// Ends at once as `end` says. Its first run leaves a thread behind that ends when the answered sender is
/// dropped; the later ones run until stopped.
fn leaves_a_thread(end: fn() -> TaskResult) -> (impl TaskFactory, mpsc::Sender<()>) {
    let (stay, leave) = mpsc::channel::<()>();
    let leave = Arc::new(Mutex::new(Some(leave)));
    let child = service_fn(move |ctx: TaskContext| {
        let leave = leave.lock().unwrap().take();
        async move {
            let Some(leave) = leave else {
                ctx.cancelled().await;
                return Ok(());
            };
            let (up, started) = tokio::sync::oneshot::channel();
            ctx.spawn_blocking(move || {
                let _ = up.send(());
                let _ = leave.recv();
            });
            let _ = started.await;
            end()
        }
    });
    (child, stay)
}

/// Until only the thread is left.
async fn joining(gate: &Gate) {
    let mut looks = 0;
    while gate.status() != (ChildStatus::Stopping { cause: None }) {
        tokio::task::yield_now().await;
        looks += 1;
        assert!(looks < 10_000_000, "the run never ended");
    }
}

/// A job that has completed, its thread alive.
async fn completed() -> (
    TaskContext,
    JoinHandle<Result<(), TaskFailure>>,
    mpsc::Sender<()>,
) {
    let (child, stay) = leaves_a_thread(|| Ok(()));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .service(child);
    let ctx = TaskContext::detached("job");
    let life = live(child, &ctx);
    joining(&ctx.gate()).await;
    (ctx, life, stay)
}

fn ended_as(ctx: &TaskContext) -> (TaskExit, RestartAction) {
    let last = ctx.snapshot().last_exit.expect("the run ended");
    (last.exit, last.decision.expect("it was decided").action)
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_completed_stays_so_whatever_stops_it() {
    let stops: [fn(&Gate); 5] = [
        |gate| assert!(gate.pause()),
        |gate| assert!(gate.quarantine("poisoned", None)),
        |gate| gate.stop_run(StopCause::Sibling, StopRequest::default()),
        |gate| {
            gate.end(StopCause::Removal, StopRequest::default());
        },
        Gate::shutdown,
    ];
    for stop in stops {
        let (ctx, life, stay) = completed().await;
        let gate = ctx.gate();
        stop(&gate);
        let status = gate.status();
        assert_eq!(status.as_str(), "stopping", "its thread lives");
        drop(stay);
        within(life).await.unwrap().unwrap();
        let own = (TaskExit::Completed, RestartAction::Finish);
        assert_eq!(ended_as(&ctx), own, "{status}");
        gate.release();
        assert_eq!(gate.status(), ChildStatus::Finished, "{status}");
        assert_eq!(gate.generation(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_comes_then_is_kept() {
    let (child, stay) = leaves_a_thread(|| Err("broken".into()));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(FuseLayer::new(3, secs(600)))
        .layer(BackoffLayer::constant(secs(60)).jitter(Jitter::None))
        .service(child);
    let ctx = TaskContext::detached("child");
    let gate = ctx.gate();
    let life = live(child, &ctx);
    joining(&gate).await;
    assert!(gate.pause());
    drop(stay);
    within(gate.down()).await;
    assert_eq!(gate.status(), ChildStatus::Paused);
    let again = RestartAction::Restart { delay: secs(60) };
    assert_eq!(ended_as(&ctx), (TaskExit::Failed, again));
    assert_eq!(ctx.snapshot().fuse.unwrap().used, 1, "the failure counts");
    let released = Instant::now();
    assert_eq!(gate.release(), Some(HoldReason::Paused));
    assert_eq!(within(gate.ran_again(1)).await, Ok(2));
    assert_eq!(released.elapsed(), secs(0), "a release cuts the backoff");
    gate.shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_comes_then_outlasts_the_quarantine_of_a_blown_fuse() {
    type Hold = fn(&Gate) -> bool;
    let holds: [(Hold, HoldReason); 2] = [
        (Gate::pause, HoldReason::Paused),
        (
            |gate| gate.quarantine("poisoned", None),
            HoldReason::Quarantined,
        ),
    ];
    for (hold, reason) in holds {
        let (child, stay) = leaves_a_thread(|| Err("broken".into()));
        let child = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(QuarantineLayer::release_after(secs(5)))
            .layer(FuseLayer::new(0, secs(600)))
            .service(child);
        let ctx = TaskContext::detached("child");
        let gate = ctx.gate();
        let life = live(child, &ctx);
        joining(&gate).await;
        assert!(hold(&gate));
        drop(stay);
        within(gate.down()).await;
        tokio::time::sleep(secs(60)).await;
        assert_eq!(gate.generation(), 1, "{reason:?}: nobody released it");
        assert_eq!(gate.release(), Some(reason));
        assert_eq!(within(gate.ran_again(1)).await, Ok(2));
        gate.shutdown();
        within(life).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_then_says_when_waiting_has_no_more_sense() {
    let (ctx, life, stay) = completed().await;
    let deadline = Some(Instant::now() + secs(3));
    let request = StopRequest {
        deadline,
        ..StopRequest::default()
    };
    ctx.gate().pause_with(request);
    assert_eq!(ctx.gate().drop_at().map(|(at, _)| at), deadline);
    drop(stay);
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_then_runs_the_child_again_whatever_was_decided() {
    let ends: [(fn() -> TaskResult, TaskExit); 3] = [
        (|| Ok(()), TaskExit::Completed),
        (|| Err("broken".into()), TaskExit::Failed),
        (
            || Err(TaskFailure::fatal("hopeless").into()),
            TaskExit::Failed,
        ),
    ];
    for (end, exit) in ends {
        let (child, stay) = leaves_a_thread(end);
        let child = ServiceBuilder::new()
            .layer(RestartLayer::transient())
            .layer(FuseLayer::new(0, secs(600)))
            .layer(BackoffLayer::constant(secs(60)).jitter(Jitter::None))
            .service(child);
        let ctx = TaskContext::detached("child");
        let gate = ctx.gate();
        let life = live(child, &ctx);
        joining(&gate).await;
        assert_eq!(gate.restart(), Some(()));
        drop(stay);
        let asked = Instant::now();
        assert_eq!(within(gate.ran_again(1)).await, Ok(2));
        assert_eq!(asked.elapsed(), secs(0));
        assert_eq!(ctx.attempt(), 1);
        let snapshot = ctx.snapshot();
        assert_eq!(snapshot.last_exit.unwrap().exit, exit, "its own");
        assert_eq!(snapshot.fuse, None, "as new");
        gate.shutdown();
        within(life).await.unwrap().unwrap();
        assert!(gate.is_ended(), "once is enough");
    }
}

/// Calls a service again whenever the gate says so, as a supervisor does with a stack without a
/// `RestartLayer`.
fn drive(mut child: impl TaskFactory, gate: Gate) -> JoinHandle<StopCause> {
    tokio::spawn(async move {
        loop {
            let run = match gate.next_run().await {
                NextRun::End(cause) => return cause,
                NextRun::Run(run) => run,
            };
            let generation = run.generation();
            let result = child.call(run).await;
            let result = result.map_err(|error| TaskFailure::of(error.into()));
            gate.end_life(generation, &result).await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_bare_stack_is_run_again_by_a_restart_that_comes_while_its_helpers_end() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let (child, stay) = leaves_a_thread(|| Ok(()));
    let driver = drive(child, gate.clone());
    joining(&gate).await;
    assert_eq!(gate.restart(), Some(()));
    drop(stay);
    assert_eq!(within(gate.ran_again(1)).await, Ok(2));
    assert_eq!(ended_as(&ctx).0, TaskExit::Completed);
    gate.shutdown();
    assert_eq!(within(driver).await.unwrap(), StopCause::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_bare_stack_that_was_stopped_runs_again_when_its_stop_says_so() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let steady = service_fn(|ctx: TaskContext| async move { ctx.cancelled().await });
    let driver = drive(steady, gate.clone());
    assert_eq!(within(gate.ran_again(0)).await, Ok(1));
    assert_eq!(gate.restart(), Some(()));
    assert_eq!(within(gate.ran_again(1)).await, Ok(2));
    gate.hold_for_group(true);
    gate.stop_run(StopCause::Sibling, StopRequest::default());
    within(gate.down()).await;
    assert!(gate.waits_for_group() && !gate.is_ended());
    gate.hold_for_group(false);
    assert_eq!(within(gate.ran_again(2)).await, Ok(3));
    gate.pause();
    within(gate.down()).await;
    assert_eq!(gate.status(), ChildStatus::Paused);
    gate.release();
    assert_eq!(within(gate.ran_again(3)).await, Ok(4));
    gate.shutdown();
    assert_eq!(within(driver).await.unwrap(), StopCause::Shutdown);
}
