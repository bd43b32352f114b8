//! What a supervisor is told of a child, asked, and left to do.

mod support;

use std::sync::atomic::Ordering;

use supervisor_layers::{
    BackoffLayer, ChildStatus, FailureKind, FuseLayer, Jitter, LifecycleEvent, NextRun,
    QuarantineLayer, RestartAction, RestartLayer, RestartType, StopCause, TaskContext, TaskExit,
    TaskFactory, TaskFailure,
    context::{ContextSpec, StartOutcome, StopRequest},
    ms, secs, service_fn,
};
use support::{Recorder, live, settle, supervised, within};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceBuilder;

/// Fails in its first `n` runs, then waits for its stop.
fn failing(n: u64) -> impl TaskFactory {
    service_fn(move |ctx: TaskContext| async move {
        tokio::task::yield_now().await;
        if ctx.generation() <= n {
            return Err("broken");
        }
        ctx.cancelled().await;
        Ok(())
    })
}

/// Starts a life as a supervisor does.
async fn start(ctx: &TaskContext, child: impl TaskFactory) -> JoinHandle<Result<(), TaskFailure>> {
    match within(ctx.gate().next_run()).await {
        NextRun::Run(run) => live(child, &run),
        NextRun::End(cause) => panic!("ended for {cause}"),
    }
}

fn actions(owner: &Recorder) -> Vec<RestartAction> {
    owner
        .decisions()
        .iter()
        .map(|decision| decision.action)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_life_are_recorded_in_order() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(QuarantineLayer::until_released())
        .layer(FuseLayer::new(1, secs(60)))
        .layer(BackoffLayer::constant(ms(100)).jitter(Jitter::None))
        .service(failing(2));
    let life = start(&ctx, child).await;
    tokio::time::sleep(secs(1)).await;
    ctx.gate().release().unwrap();
    tokio::time::sleep(secs(1)).await;
    ctx.gate().pause();
    tokio::time::sleep(secs(1)).await;
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(
        owner.names(),
        [
            "1 starting",
            "1 ready",
            "1 exited",
            "1 fuse charged",
            "1 decided",
            "1 backing off",
            "2 starting",
            "2 ready",
            "2 exited",
            "2 fuse charged",
            "2 fuse blown",
            "2 decided",
            "2 quarantined",
            "2 released",
            "3 starting",
            "3 ready",
            "3 paused",
            "3 exited",
            "3 decided",
        ]
    );
    let steps = owner.steps();
    let Some((_, LifecycleEvent::Exited { exit, message })) = steps
        .iter()
        .find(|(_, step)| matches!(step, LifecycleEvent::Exited { .. }))
    else {
        panic!("the run ended")
    };
    assert_eq!(
        (*exit, message.as_deref()),
        (TaskExit::Failed, Some("broken"))
    );
    assert_eq!(ctx.snapshot().sequence, steps.len() as u64);
    assert_eq!(
        owner.admitted.load(Ordering::Relaxed),
        0,
        "its fuse admits it"
    );
}

#[tokio::test(start_paused = true)]
async fn intensity_is_asked_for_each_restart_of_a_child_without_a_fuse() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(failing(3));
    let life = start(&ctx, child).await;
    while ctx.gate().generation() < 4 {
        within(ctx.gate().ran_again(ctx.gate().generation()))
            .await
            .unwrap();
    }
    assert_eq!(owner.admitted.load(Ordering::Relaxed), 3);
    ctx.gate().restart().unwrap();
    within(ctx.gate().ran_again(4)).await.unwrap();
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(
        owner.admitted.load(Ordering::Relaxed),
        3,
        "nothing is asked for a stop"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_is_not_admitted_escalates() {
    let (owner, ctx) = supervised(ContextSpec::default());
    owner.refuses.store(true, Ordering::Relaxed);
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(failing(1));
    let failure = within(start(&ctx, child).await).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::IntensityExceeded);
    assert_eq!(failure.find::<TaskFailure>().unwrap().to_string(), "broken");
    assert_eq!(actions(&owner), [RestartAction::Escalate]);
    assert_eq!(ctx.gate().status(), ChildStatus::Failed);
    assert_eq!(ctx.gate().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_restart_is_left_to_the_supervisor_and_waits_for_it() {
    let (owner, ctx) = supervised(ContextSpec {
        grouped: true,
        ..ContextSpec::default()
    });
    let gate = ctx.gate();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(BackoffLayer::constant(secs(3)).jitter(Jitter::None))
        .service(failing(1));
    let began = Instant::now();
    let life = start(&ctx, child).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(
        actions(&owner),
        [RestartAction::RestartGroup { delay: secs(3) }]
    );
    assert_eq!(
        owner.admitted.load(Ordering::Relaxed),
        0,
        "the group is charged once"
    );
    tokio::time::sleep(secs(600)).await;
    assert_eq!(
        (gate.status(), gate.generation()),
        (ChildStatus::Waiting, 1)
    );
    gate.hold_for_group(false);
    assert_eq!(within(gate.started(1)).await, StartOutcome::Started);
    assert_eq!(began.elapsed(), secs(601));
    gate.stop_run(StopCause::Sibling, StopRequest::default());
    gate.hold_for_group(true);
    tokio::time::sleep(secs(600)).await;
    assert_eq!(
        (gate.status(), gate.generation()),
        (ChildStatus::Waiting, 2)
    );
    gate.shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(
        actions(&owner)[1..],
        [RestartAction::Stop {
            cause: StopCause::Sibling
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_held_for_its_group_leaves_its_backoff_to_the_group() {
    let (_, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(BackoffLayer::constant(secs(60)).jitter(Jitter::None))
        .service(failing(1));
    let life = start(&ctx, child).await;
    settle().await;
    assert_eq!(gate.status().as_str(), "backing_off");
    gate.hold_for_group(true);
    settle().await;
    assert_eq!(gate.status(), ChildStatus::Waiting);
    tokio::time::sleep(secs(600)).await;
    assert_eq!(gate.generation(), 1);
    gate.hold_for_group(false);
    settle().await;
    assert_eq!(gate.generation(), 2);
    gate.shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_ties_its_consequences_together_until_the_child_is_ready() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(failing(0));
    let life = start(&ctx, child).await;
    within(gate.ready()).await.unwrap();
    let command = |correlation| StopRequest {
        correlation,
        ..StopRequest::default()
    };
    gate.restart_with(command(7)).unwrap();
    within(gate.ran_again(1)).await.unwrap();
    within(gate.ready()).await.unwrap();
    gate.pause_with(command(8));
    within(gate.down()).await;
    gate.release_with(9).unwrap();
    within(gate.ready()).await.unwrap();
    gate.end(StopCause::Removal, command(10));
    within(life).await.unwrap().unwrap();
    let tied: Vec<_> = owner
        .names()
        .into_iter()
        .zip(owner.correlations())
        .collect();
    let tied: Vec<_> = tied
        .iter()
        .map(|(name, tie)| (name.as_str(), *tie))
        .collect();
    assert_eq!(
        tied,
        [
            ("1 starting", 0),
            ("1 ready", 0),
            ("1 exited", 7),
            ("1 decided", 7),
            ("2 starting", 7),
            ("2 ready", 7),
            ("2 paused", 8),
            ("2 exited", 8),
            ("2 decided", 8),
            ("2 resumed", 9),
            ("3 starting", 9),
            ("3 ready", 9),
            ("3 exited", 10),
            ("3 decided", 10),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stack_without_restarts_is_one_run_that_its_supervisor_calls_again() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let gate = ctx.gate();
    let mut child = failing(1);
    for generation in 1..=2 {
        let NextRun::Run(run) = within(gate.next_run()).await else {
            panic!("the gate is open")
        };
        assert_eq!(run.generation(), generation);
        let mut life = tokio_test::task::spawn(tower::Service::call(&mut child, run));
        assert!(life.poll().is_pending());
        gate.pending(generation);
        assert_eq!(
            within(gate.started(generation - 1)).await,
            StartOutcome::Started
        );
        if generation == 2 {
            gate.end(StopCause::Shutdown, StopRequest::default());
        }
        let result = within(life)
            .await
            .map_err(|error| TaskFailure::of(error.into()));
        gate.end_life(generation, &result).await;
        assert!(gate.is_ended());
        if generation == 1 {
            assert_eq!(gate.status(), ChildStatus::Failed);
            gate.restart().unwrap();
        }
    }
    assert_eq!(
        actions(&owner),
        [
            RestartAction::Fail,
            RestartAction::Stop {
                cause: StopCause::Shutdown
            }
        ]
    );
    assert_eq!(owner.decisions()[0].restart, RestartType::Temporary);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_leaves_nothing_is_told_as_the_last() {
    let leaf = ContextSpec {
        leaf: true,
        ..ContextSpec::default()
    };
    type Before = fn(&TaskContext);
    let cases: [(&str, &ContextSpec, Before, bool); 6] = [
        ("a leaf", &leaf, |_| {}, true),
        ("no leaf", &ContextSpec::default(), |_| {}, false),
        (
            "with a helper",
            &leaf,
            |ctx| drop(ctx.gate().context().spawn(std::future::pending::<()>())),
            false,
        ),
        (
            "stopped before",
            &leaf,
            |ctx| assert!(ctx.gate().pause()),
            false,
        ),
        (
            "told already",
            &leaf,
            |ctx| assert!(ctx.gate().take_last_word().is_some()),
            false,
        ),
        ("ended before", &leaf, |ctx| ctx.gate().shutdown(), false),
    ];
    for (case, spec, before, is_last) in cases {
        let (owner, ctx) = supervised(spec.clone());
        let slow = service_fn(|ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(1)).await;
        });
        let child = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .service(slow);
        let life = start(&ctx, child).await;
        tokio::time::sleep(secs(1)).await;
        before(&ctx);
        ctx.gate().end(StopCause::Shutdown, StopRequest::default());
        within(life).await.unwrap().unwrap();
        let last: Vec<_> = is_last.then_some(secs(1)).into_iter().collect();
        assert_eq!(owner.last(), last, "{case}");
        let told = is_last || case == "told already";
        assert_eq!(ctx.gate().take_last_word().is_none(), told, "{case}");
    }
}
