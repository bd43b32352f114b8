//! The whole stack from one policy.

mod scripted;

use std::{iter::once, time::Duration};

use proptest::prelude::*;
use scripted::{Ends, always, settle, within};
use supervisor_layers::{
    Backoff, ChildPolicy, ChildStatus, FailureKind, FuseLimit, Jitter, RestartType,
    ServiceBuilderExt, StopCause, SupervisedLayer, TaskContext, TaskExit, TaskFactoryExt,
    TaskFailure, WatchdogLayer, ms, secs, service_fn,
};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_layer::Layer;
use tower_test::mock;

#[tokio::test(start_paused = true)]
async fn a_life_calls_the_service_for_each_run_once_it_is_ready() {
    let policy = ChildPolicy {
        restart: RestartType::Transient,
        backoff: Some(Backoff::constant(secs(1)).jitter(Jitter::None)),
        ..ChildPolicy::default()
    };
    let (service, mut child) = mock::pair::<TaskContext, ()>();
    child.allow(0);
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(SupervisedLayer::new(policy).layer(service).run(ctx));
    settle().await;
    assert!(child.poll_request().is_pending(), "it is not ready");
    let began = Instant::now();
    child.allow(2);
    let (run, response) = within(child.next_request()).await.unwrap();
    assert_eq!((run.generation(), began.elapsed()), (1, secs(0)));
    response.send_error("broken");
    let (run, response) = within(child.next_request()).await.unwrap();
    assert_eq!((run.generation(), began.elapsed()), (2, secs(1)));
    response.send_response(());
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_final() {
    let (service, mut child) = mock::pair::<TaskContext, ()>();
    child.send_error("worn out");
    let ctx = TaskContext::detached("probe");
    let stack = SupervisedLayer::new(ChildPolicy::default()).layer(service);
    let error = within(stack.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.to_string(), "worn out");
    assert_eq!(ctx.gate().status(), ChildStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn the_default_policy_lets_ten_failures_pass_and_then_holds_the_child() {
    let child = ServiceBuilder::new()
        .supervised(ChildPolicy::default())
        .service(always(Ends::Err.at_once()));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    let status = within(ctx.gate().ready()).await.unwrap_err();
    assert!(matches!(
        status,
        ChildStatus::Quarantined { until: None, .. }
    ));
    assert_eq!(ctx.gate().generation(), 11);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_setting_is_published_at_the_first_call() {
    let policy = ChildPolicy {
        restart: RestartType::Transient,
        quarantine: Some(Some(secs(7))),
        watchdog: WatchdogLayer::new()
            .stale_after(secs(8))
            .start_timeout(secs(9)),
        ..ChildPolicy::default()
    };
    let child = ServiceBuilder::new()
        .supervised(policy)
        .service(always(Ends::Ok.at_once()));
    let ctx = TaskContext::detached("probe");
    within(child.run(ctx.clone())).await.unwrap();
    let settings = ctx.snapshot().settings;
    assert_eq!(settings.restart, Some(RestartType::Transient));
    assert_eq!(settings.quarantine, Some(Some(secs(7))));
    assert_eq!(settings.fuse, policy.fuse);
    assert_eq!(settings.backoff, policy.backoff);
    assert_eq!(settings.grace, policy.grace);
    assert_eq!(settings.stale_after, Some(secs(8)));
    assert_eq!(settings.start_timeout, Some(secs(9)));
}

#[tokio::test(start_paused = true)]
async fn a_bare_policy_restarts_and_does_nothing_else() {
    let child = ServiceBuilder::new()
        .supervised(ChildPolicy::bare(RestartType::Permanent))
        .service(scripted::script([Ends::Err.at_once(); 100]));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let life = tokio::spawn(child.run(ctx.clone()));
    assert_eq!(within(ctx.gate().ready()).await, Ok(101));
    assert_eq!(began.elapsed(), secs(0));
    let settings = ctx.snapshot().settings;
    assert_eq!(settings.restart, Some(RestartType::Permanent));
    assert_eq!((settings.fuse, settings.backoff), (None, None));
    assert_eq!((settings.quarantine, settings.grace), (None, None));
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_a_fresh_child() {
    let policy = ChildPolicy {
        quarantine: None,
        backoff: Some(Backoff::linear(secs(1), secs(60)).jitter(Jitter::None)),
        ..ChildPolicy::default()
    };
    let child = ServiceBuilder::new()
        .supervised(policy)
        .service(always(Ends::Err.at_once()));
    for id in ["one", "another"] {
        let ctx = TaskContext::detached(id);
        let began = Instant::now();
        let error = within(child.clone().run(ctx.clone())).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::GaveUp);
        assert_eq!(ctx.gate().generation(), 11);
        assert_eq!(began.elapsed(), secs((1..=10).sum()));
    }
}

/// What a run of a generated script does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Ok,
    Err,
    Panic,
    Fatal,
    /// Runs until somebody stops it for this cause.
    Stop(StopCause),
}

/// What a script leads to.
#[derive(Debug, PartialEq)]
struct Outcome {
    runs: u64,
    result: Result<(), (FailureKind, bool)>,
    /// What the fuse read last.
    fuse: Option<u32>,
    took: Duration,
}

const WINDOW: Duration = Duration::from_secs(30);
const HEALTHY: Duration = Duration::from_secs(10);
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

type Script = Vec<(Step, Duration)>;

/// The rules, as simply as they can be said.
fn model(restart: RestartType, failures: u32, script: &Script) -> Outcome {
    let (mut now, mut log, mut fuse, mut row) = (ms(0), Vec::<Duration>::new(), None, 0);
    let last = (Step::Stop(StopCause::Shutdown), ms(0));
    for (runs, &(step, lasts)) in (1..).zip(script.iter().chain(once(&last))) {
        now += lasts;
        if lasts >= HEALTHY {
            row = 0;
        }
        let own = match step {
            Step::Ok => Ok(()),
            Step::Err => Err((FailureKind::Error, false)),
            Step::Panic => Err((FailureKind::Panic, false)),
            Step::Fatal => Err((FailureKind::Error, true)),
            Step::Stop(StopCause::Restart) => {
                log.clear();
                (fuse, row) = (None, 0);
                continue;
            }
            Step::Stop(StopCause::Sibling) => continue,
            Step::Stop(_) => Ok(()),
        };
        let over = |result, fuse| Outcome {
            runs,
            result,
            fuse,
            took: now,
        };
        let done =
            matches!(step, Step::Stop(_)) || (own.is_ok() && restart != RestartType::Permanent);
        if done {
            return over(Ok(()), fuse);
        }
        let counts = own.is_err() || lasts < HEALTHY;
        let mut within = 0;
        if counts {
            log.push(now);
            within = log.iter().filter(|&&then| now - then <= WINDOW).count() as u32;
            fuse = Some(within.min(failures + 1));
            row += 1;
        }
        if step == Step::Fatal || restart == RestartType::Temporary {
            return over(own, fuse);
        }
        if within > failures {
            return over(Err((FailureKind::GaveUp, false)), fuse);
        }
        if counts {
            now += (BACKOFF.0 * row).min(BACKOFF.1);
        }
    }
    unreachable!("the last step ends every life")
}

/// The real stack, and a test that stops it where the script says so.
async fn carried_out(restart: RestartType, failures: u32, script: &Script) -> Outcome {
    let policy = ChildPolicy {
        restart,
        fuse: Some(FuseLimit {
            failures,
            window: WINDOW,
        }),
        backoff: Some(
            Backoff::linear(BACKOFF.0, BACKOFF.1)
                .jitter(Jitter::None)
                .reset_after(HEALTHY),
        ),
        quarantine: None,
        ..ChildPolicy::default()
    };
    let runs = script.clone();
    let child =
        ServiceBuilder::new()
            .supervised(policy)
            .service(service_fn(move |ctx: TaskContext| {
                let step = runs.get(ctx.generation() as usize - 1).copied();
                async move {
                    let (step, lasts) = step.unwrap_or((Step::Stop(StopCause::Shutdown), ms(0)));
                    if !lasts.is_zero() {
                        tokio::time::sleep(lasts).await;
                    }
                    match step {
                        Step::Ok => Ok(()),
                        Step::Err => Err(TaskFailure::new(FailureKind::Error, "broken")),
                        Step::Panic => panic!("scripted"),
                        Step::Fatal => Err(TaskFailure::fatal("beyond repair")),
                        Step::Stop(_) => {
                            ctx.cancelled().await;
                            Ok(())
                        }
                    }
                }
            }));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let life = tokio::spawn(child.run(ctx.clone()));
    for (generation, &(step, lasts)) in (1..).zip(script) {
        if within(ctx.gate().ran_again(generation - 1)).await.is_err() {
            break;
        }
        let Step::Stop(cause) = step else { continue };
        tokio::time::sleep(lasts).await;
        settle().await;
        ctx.gate().stop_run(cause, Default::default());
    }
    let last = script.len() as u64 + 1;
    if within(ctx.gate().ran_again(last - 1)).await == Ok(last) {
        settle().await;
        ctx.gate().shutdown();
    }
    let result = within(life).await.unwrap();
    let state = ctx.snapshot();
    assert_eq!(state.exits.iter().sum::<u64>(), state.generation);
    let panics = script[..script.len().min(state.generation as usize)]
        .iter()
        .filter(|(step, _)| *step == Step::Panic);
    assert_eq!(
        state.exits[TaskExit::Panicked as usize],
        panics.count() as u64
    );
    Outcome {
        runs: state.generation,
        result: result.map_err(|failure| (failure.kind(), failure.is_fatal())),
        fuse: state.fuse.map(|fuse| fuse.used),
        took: began.elapsed(),
    }
}

fn step() -> impl Strategy<Value = (Step, Duration)> {
    let step = prop_oneof![
        3 => Just(Step::Ok),
        6 => Just(Step::Err),
        3 => Just(Step::Panic),
        1 => Just(Step::Fatal),
        2 => Just(Step::Stop(StopCause::Sibling)),
        1 => Just(Step::Stop(StopCause::Restart)),
    ];
    let lasts = prop_oneof![
        4 => Just(ms(0)),
        2 => (1_u64..9_999).prop_map(ms),
        1 => (10_000_u64..40_000).prop_map(ms),
    ];
    (step, lasts)
}

fn restart_type() -> impl Strategy<Value = RestartType> {
    prop_oneof![
        6 => Just(RestartType::Permanent),
        4 => Just(RestartType::Transient),
        1 => Just(RestartType::Temporary),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_script_leads_where_the_rules_say(
        restart in restart_type(), failures in 0_u32..5, script in prop::collection::vec(step(), 0..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = runtime.block_on(carried_out(restart, failures, &script));
        prop_assert_eq!(outcome, model(restart, failures, &script));
    }
}
