//! Our layers and tower's in one stack: what the documentation promises of their mix.

mod scripted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use scripted::{Ends, Run, always, script, settle, within};
use supervisor_layers::{
    Backoff, BoxError, ChildPolicy, FailureKind, Jitter, RestartType, ServiceBuilderExt,
    StartRateLayer, StopCause, TaskContext, TaskExit, TaskFactory, TaskFactoryExt, TaskFailure, ms,
    secs, service_fn,
};
use tokio::{sync::Semaphore, time::Instant};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};
use tower_service::Service;

const TRANSIENT: RestartType = RestartType::Transient;
const PERMANENT: RestartType = RestartType::Permanent;

fn every(delay: Duration) -> Backoff {
    Backoff::constant(delay).jitter(Jitter::None)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_limits_a_run_which_is_restarted() {
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .fuse(5, secs(600))
        .backoff(every(secs(1)))
        .timeout(secs(10))
        .service(script([
            Ends::Deaf.at_once(),
            Ends::Deaf.at_once(),
            Ends::Ok.after(secs(9)),
        ]));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(began.elapsed(), secs(10 + 1 + 10 + 1 + 9));
    let state = ctx.snapshot();
    assert_eq!(state.exits[TaskExit::TimedOut as usize], 2);
    assert_eq!(state.fuse.unwrap().used, 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_limits_the_whole_life() {
    let child = ServiceBuilder::new()
        .timeout(secs(10))
        .restart(PERMANENT)
        .backoff(every(secs(1)))
        .service(always(Ends::Err.after(secs(2))));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(TaskFailure::of(error).kind(), FailureKind::Timeout);
    assert_eq!(began.elapsed(), secs(10));
    assert_eq!(
        ctx.snapshot().generation,
        4,
        "runs at 0, 3, 6 and 9 seconds"
    );
    tokio::time::sleep(secs(60)).await;
    assert_eq!(ctx.snapshot().generation, 4, "none of it is left");
    assert!(ctx.gate().is_ended());
}

/// How many runs are alive, and how many there have been at most.
#[derive(Clone, Default)]
struct Census(Arc<(AtomicUsize, AtomicUsize)>);

impl Census {
    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn alive(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// A child that is counted while it runs.
    fn counts(&self, run: Run) -> impl TaskFactory<Error = BoxError> {
        let census = self.clone();
        service_fn(move |ctx: TaskContext| {
            let census = census.clone();
            async move {
                let _present = census.enter();
                if ctx
                    .run_until_cancelled(tokio::time::sleep(run.lasts))
                    .await
                    .is_none()
                {
                    return Ok(());
                }
                match run.ends {
                    Ends::Ok => Ok(()),
                    Ends::Panic => panic!("scripted"),
                    _ => Err("broken"),
                }
            }
        })
    }

    fn enter(&self) -> Present {
        let alive = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(alive, Ordering::SeqCst);
        Present(self.clone())
    }
}

struct Present(Census);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_global_concurrency_limit_inside_bounds_how_many_children_run() {
    let limit = GlobalConcurrencyLimitLayer::new(2);
    let census = Census::default();
    let lives: Vec<_> = (0..6)
        .map(|i| {
            let child = ServiceBuilder::new()
                .restart(TRANSIENT)
                .layer(limit.clone())
                .service(census.counts(Ends::Ok.after(secs(10))));
            tokio::spawn(child.run(TaskContext::detached(&format!("child-{i}"))))
        })
        .collect();
    let began = Instant::now();
    for life in lives {
        within(life).await.unwrap().unwrap();
    }
    assert_eq!((census.most(), began.elapsed()), (2, secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_given_back_between_runs_however_they_end() {
    for ends in [Ends::Err, Ends::Panic] {
        let permits = Arc::new(Semaphore::new(1));
        let census = Census::default();
        let contexts = ["one", "another"].map(TaskContext::detached);
        for ctx in &contexts {
            let child = ServiceBuilder::new()
                .restart(PERMANENT)
                .backoff(every(secs(10)))
                .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
                .service(census.counts(ends.after(secs(1))));
            tokio::spawn(child.run(ctx.clone()));
        }
        tokio::time::sleep(secs(5)).await;
        // Both have run and back off; neither holds what it does not use.
        assert_eq!(contexts.clone().map(|ctx| ctx.gate().generation()), [1, 1]);
        assert_eq!((permits.available_permits(), census.alive()), (1, 0));
        tokio::time::sleep(secs(60)).await;
        assert!(contexts.iter().all(|ctx| ctx.gate().generation() > 3));
        assert_eq!(census.most(), 1);
        contexts.iter().for_each(|ctx| ctx.gate().shutdown());
    }
}

/// One child that runs and one that waits for its permit.
fn one_runs_one_waits(permits: &Arc<Semaphore>) -> [(TaskContext, Life); 2] {
    ["runs", "waits"].map(|id| {
        let child = ServiceBuilder::new()
            .restart(PERMANENT)
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
            .service(always(Ends::Stopped.at_once()));
        let ctx = TaskContext::detached(id);
        (ctx.clone(), tokio::spawn(child.run(ctx)))
    })
}

type Life = tokio::task::JoinHandle<Result<(), TaskFailure>>;

#[tokio::test(start_paused = true)]
async fn a_child_that_waits_for_its_permit_ends_at_once_and_holds_none() {
    let permits = Arc::new(Semaphore::new(1));
    let [(first, running), (second, waiting)] = one_runs_one_waits(&permits);
    settle().await;
    let began = Instant::now();
    second.gate().shutdown();
    within(waiting).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), secs(0));
    first.gate().shutdown();
    within(running).await.unwrap().unwrap();
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_paused_while_it_waits_for_its_permit_holds_none() {
    let permits = Arc::new(Semaphore::new(1));
    let [(first, running), (second, waiting)] = one_runs_one_waits(&permits);
    settle().await;
    assert!(second.gate().pause());
    settle().await;
    first.gate().shutdown();
    within(running).await.unwrap().unwrap();
    settle().await;
    assert_eq!(permits.available_permits(), 1, "nobody runs");
    second.gate().release().unwrap();
    within(second.gate().ready()).await.unwrap();
    assert_eq!(permits.available_permits(), 0);
    second.gate().shutdown();
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn load_shed_inside_makes_overload_a_failure_of_its_own_kind() {
    let permits = Arc::new(Semaphore::new(0));
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .fuse(3, secs(600))
        .backoff(every(secs(1)))
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits))
        .service(always(Ends::Ok.at_once()));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    let source = std::error::Error::source(&error).unwrap();
    let shed = source.downcast_ref::<TaskFailure>().unwrap();
    assert_eq!(shed.kind(), FailureKind::Overloaded);
    assert_eq!(ctx.snapshot().exits[TaskExit::Failed as usize], 4);
    // Inside of the backoff it only sheds what the limit refuses.
    assert_eq!(began.elapsed(), secs(3));
}

#[tokio::test(start_paused = true)]
async fn load_shed_around_a_backoff_defeats_it_as_documented() {
    let child = ServiceBuilder::new()
        .restart(TRANSIENT)
        .fuse(3, secs(600))
        .load_shed()
        .backoff(every(secs(3600)))
        .service(always(Ends::Err.at_once()));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    let error = within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::GaveUp);
    assert_eq!(began.elapsed(), secs(0), "no delay was waited for");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_inside_single_layers_limits_the_runs_of_one_service() {
    // Not under a restart layer: tower's rate limit cannot be cloned.
    let mut child = ServiceBuilder::new()
        .fuse(10, secs(60))
        .observe()
        .rate_limit(1, secs(10))
        .service(always(Ends::Ok.at_once()));
    let ctx = TaskContext::detached("probe");
    let began = Instant::now();
    for run in 0..3 {
        within(std::future::poll_fn(|cx| child.poll_ready(cx)))
            .await
            .unwrap();
        assert_eq!(began.elapsed(), secs(10 * run));
        within(child.call(ctx.clone())).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_a_limit_and_the_whole_stack_keep_their_promises_together() {
    let permits = Arc::new(Semaphore::new(1));
    let storm = StartRateLayer::new(100, secs(1));
    let policy = ChildPolicy {
        restart: TRANSIENT,
        backoff: Some(every(secs(1))),
        ..ChildPolicy::default()
    };
    let began = Instant::now();
    let lives: Vec<_> = (0..3)
        .map(|i| {
            let runs = [
                Ends::Deaf.at_once(),
                Ends::Panic.at_once(),
                Ends::Ok.after(ms(500)),
            ];
            let child = ServiceBuilder::new()
                .supervised(policy)
                .layer(storm.clone())
                .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
                .timeout(secs(2))
                .service(script(runs));
            let ctx = TaskContext::detached(&format!("child-{i}"));
            (ctx.clone(), tokio::spawn(child.run(ctx)))
        })
        .collect();
    for (ctx, life) in lives {
        within(life).await.unwrap().unwrap();
        let exits = ctx.snapshot().exits;
        assert_eq!(exits[TaskExit::TimedOut as usize], 1);
        assert_eq!(exits[TaskExit::Panicked as usize], 1);
        assert_eq!(exits[TaskExit::Completed as usize], 1);
    }
    assert!(
        began.elapsed() >= ms(3 * 2500),
        "one at a time holds the permit"
    );
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_a_run_through_towers_layers() {
    for cause in [StopCause::Shutdown, StopCause::Removal] {
        let child = ServiceBuilder::new()
            .supervised(ChildPolicy::default())
            .timeout(secs(3600))
            .layer(GlobalConcurrencyLimitLayer::new(1))
            .load_shed()
            .service(always(Ends::Deaf.at_once()));
        let ctx = TaskContext::detached("probe");
        let life = tokio::spawn(child.run(ctx.clone()));
        within(ctx.gate().ready()).await.unwrap();
        let began = Instant::now();
        ctx.gate().end(cause, Default::default());
        within(life).await.unwrap().unwrap();
        assert_eq!(began.elapsed(), secs(5), "the default grace");
        let last = ctx.snapshot().last_exit.unwrap();
        assert_eq!(last.exit, TaskExit::Aborted);
    }
}

#[tokio::test(start_paused = true)]
async fn stacks_with_towers_layers_can_be_held_across_an_await_in_a_spawned_block() {
    // That this compiles is the promise; `BoxError` closures, as other errors hide the fault.
    let limit = GlobalConcurrencyLimitLayer::new(4);
    let inside = ServiceBuilder::new()
        .restart(TRANSIENT)
        .quarantine(None)
        .fuse(3, secs(60))
        .backoff(every(ms(1)))
        .observe()
        .graceful(secs(1))
        .layer(limit.clone())
        .timeout(secs(5))
        .service(service_fn(|_| async { Ok::<(), BoxError>(()) }));
    let outside = ServiceBuilder::new()
        .timeout(secs(5))
        .load_shed()
        .supervised(ChildPolicy::bare(TRANSIENT))
        .timeout(secs(1))
        .layer(limit)
        .service(service_fn(|_| async { Ok::<(), BoxError>(()) }));
    let task = tokio::spawn(async move {
        inside.clone().run(TaskContext::detached("one")).await?;
        outside.clone().run(TaskContext::detached("two")).await?;
        tokio::task::yield_now().await;
        inside.run(TaskContext::detached("three")).await?;
        outside.run(TaskContext::detached("four")).await?;
        Ok::<(), BoxError>(())
    });
    within(task).await.unwrap().unwrap();
}
