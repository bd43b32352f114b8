//! What the parts cost: a layer, the stack, a decision, an event, a look at the state, a group restart, a deep tree.
//! Times are printed, never asserted; every iteration checks that the work was done.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rust_supervisor::{
    ChildSpec, CommandMeta, EventItem, Supervisor, SupervisorHandle, SupervisorSpec, TaskContext,
    ms, secs,
};
use supervisor_layers::{
    BackoffLayer, ChildPolicy, FuseLayer, ObserveLayer, QuarantineLayer, RestartLayer, RestartType,
    ShutdownLayer, SupervisedLayer, TaskExit, TaskFactory, WatchdogLayer,
    policy::{ExitFacts, decide},
    service_fn,
};
use tokio::{runtime::Runtime, sync::Notify, time::Instant};
use tower::ServiceBuilder;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

fn by() -> CommandMeta {
    CommandMeta::new("bench", "measuring").unwrap()
}

fn flat(children: usize) -> SupervisorSpec {
    (0..children)
        .map(|n| ChildSpec::worker(format!("c{n}"), idle))
        .fold(SupervisorSpec::one_for_one("bench"), SupervisorSpec::child)
}

async fn stop(handle: SupervisorHandle) {
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
}

/// One run that completes at once.
fn run_once(mut service: impl TaskFactory, ctx: &TaskContext) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    let run = pin!(service.call(ctx.clone()));
    assert!(matches!(run.poll(&mut cx), Poll::Ready(Ok(()))));
}

fn layers(c: &mut Criterion) {
    let child = service_fn(|_: TaskContext| async {});
    let ctx = TaskContext::detached("bench");
    let mut group = c.benchmark_group("a run through");
    macro_rules! through {
        ($name:literal, $service:expr) => {
            let service = $service;
            group.bench_function($name, |b| {
                b.iter(|| run_once(service.clone(), &ctx));
            });
        };
    }
    through!("no layer", child.clone());
    let one = || ServiceBuilder::new();
    let backoff = || BackoffLayer::exponential(ms(100), secs(5));
    through!(
        "QuarantineLayer",
        one()
            .layer(QuarantineLayer::until_released())
            .service(child.clone())
    );
    through!(
        "FuseLayer",
        one()
            .layer(FuseLayer::new(10, secs(60)))
            .service(child.clone())
    );
    through!(
        "BackoffLayer",
        one().layer(backoff()).service(child.clone())
    );
    through!(
        "ObserveLayer",
        one().layer(ObserveLayer::new()).service(child.clone())
    );
    through!(
        "WatchdogLayer",
        one().layer(WatchdogLayer::new()).service(child.clone())
    );
    through!(
        "ShutdownLayer",
        one()
            .layer(ShutdownLayer::grace(secs(5)))
            .service(child.clone())
    );
    through!(
        "six layers",
        ServiceBuilder::new()
            .layer(QuarantineLayer::until_released())
            .layer(FuseLayer::new(10, secs(60)))
            .layer(backoff())
            .layer(ObserveLayer::new())
            .layer(WatchdogLayer::new())
            .layer(ShutdownLayer::grace(secs(5)))
            .service(child.clone())
    );
    // These end a life: each has a child of its own.
    let life =
        |name: &str, group: &mut criterion::BenchmarkGroup<'_, _>, made: &dyn Fn(&TaskContext)| {
            group.bench_function(name, |b| b.iter(|| made(&TaskContext::detached("bench"))));
        };
    life("no layer, a new child", &mut group, &|ctx| {
        run_once(child.clone(), ctx);
    });
    let restart = one()
        .layer(RestartLayer::transient())
        .service(child.clone());
    life("RestartLayer, a new child", &mut group, &|ctx| {
        run_once(restart.clone(), ctx);
    });
    let policy = ChildPolicy {
        restart: RestartType::Transient,
        ..ChildPolicy::default()
    };
    let stack = one()
        .layer(SupervisedLayer::new(policy))
        .service(child.clone());
    life("the default stack, a new child", &mut group, &|ctx| {
        run_once(stack.clone(), ctx);
    });
    group.finish();
}

fn decision(c: &mut Criterion) {
    let facts = ExitFacts {
        restart: RestartType::Permanent,
        exit: TaskExit::Failed,
        fatal: false,
        stop: None,
        first_start: false,
        fuse: None,
        has_fuse: false,
        backoff: None,
        quarantine: None,
        grouped: false,
    };
    c.bench_function("a decision", |b| {
        b.iter(|| black_box(decide(black_box(&facts), || true)));
    });
}

/// A child that fails so often, at once, when `go` says so.
fn crashing(times: u64, go: &Arc<Notify>, over: &Arc<Notify>) -> ChildSpec {
    let (go, over, runs) = (go.clone(), over.clone(), Arc::new(AtomicU64::new(0)));
    ChildSpec::worker("crashing", move |ctx: TaskContext| {
        let (go, over, runs) = (go.clone(), over.clone(), runs.clone());
        async move {
            if ctx.generation() == 1 {
                go.notified().await;
            }
            if runs.fetch_add(1, Ordering::Relaxed) == times {
                over.notify_one();
                ctx.cancelled().await;
                return Ok(());
            }
            Err("again")
        }
    })
    .no_fuse()
    .backoff(None)
}

/// Each restart is three events; every subscriber reads them all.
fn journal(c: &mut Criterion) {
    const RESTARTS: u64 = 20_000;
    let runtime = runtime();
    let mut group = c.benchmark_group("events");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(3 * RESTARTS));
    for subscribers in [0, 1, 8] {
        group.bench_function(BenchmarkId::new("subscribers", subscribers), |b| {
            b.iter_custom(|iterations| {
                let once = || async {
                    let (go, over) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
                    let spec = SupervisorSpec::one_for_one("bench")
                        .intensity(u32::MAX, ms(1))
                        .child(crashing(RESTARTS, &go, &over));
                    let handle = Supervisor::start(spec).await.unwrap();
                    let head = handle.current_state().as_of;
                    for _ in 0..subscribers {
                        let mut events = handle.subscribe_events();
                        tokio::spawn(async move {
                            let mut told = 0;
                            while let Some(item) = events.next().await {
                                told += match item {
                                    EventItem::Event(_) => 1,
                                    EventItem::Gap { missed } => missed,
                                };
                            }
                            assert!(told >= 3 * RESTARTS);
                        });
                    }
                    let began = Instant::now();
                    go.notify_one();
                    over.notified().await;
                    let took = began.elapsed();
                    assert!(handle.current_state().as_of - head >= 3 * RESTARTS);
                    stop(handle).await;
                    took
                };
                (0..iterations).map(|_| runtime.block_on(once())).sum()
            });
        });
    }
    group.finish();
}

fn state(c: &mut Criterion) {
    const CHILDREN: usize = 10_000;
    let runtime = runtime();
    let handle = runtime.block_on(Supervisor::start(flat(CHILDREN))).unwrap();
    let mut group = c.benchmark_group("state");
    group.bench_function("status of one", |b| {
        b.iter(|| handle.child_status("c5000").unwrap());
    });
    group.bench_function("all about one", |b| {
        b.iter(|| handle.child_state("c5000").unwrap());
    });
    group.throughput(Throughput::Elements(CHILDREN as u64));
    group.bench_function("status of all", |b| {
        b.iter(|| assert_eq!(black_box(handle.statuses()).len(), CHILDREN));
    });
    group.bench_function("all about all", |b| {
        b.iter(|| {
            assert_eq!(
                black_box(handle.current_state()).root.children.len(),
                CHILDREN
            );
        });
    });
    group.finish();
    runtime.block_on(stop(handle));
}

fn group_restart(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("group restart");
    for children in [10, 1_000] {
        let (fail, begun) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let counting = |n: usize| {
            let begun = begun.clone();
            ChildSpec::worker(format!("c{n}"), move |ctx: TaskContext| {
                begun.fetch_add(1, Ordering::Relaxed);
                idle(ctx)
            })
        };
        let failing = fail.clone();
        let first = ChildSpec::worker("first", move |ctx: TaskContext| {
            let fail = failing.clone();
            async move {
                match ctx.run_until_cancelled(fail.notified()).await {
                    Some(()) => Err("as ordered"),
                    None => Ok(()),
                }
            }
        });
        let spec = (0..children).map(counting).fold(
            SupervisorSpec::one_for_all("bench")
                .intensity(u32::MAX, ms(1))
                .child(first.no_fuse().backoff(None)),
            SupervisorSpec::child,
        );
        let handle = runtime.block_on(Supervisor::start(spec)).unwrap();
        group.throughput(Throughput::Elements(children as u64));
        group.bench_function(BenchmarkId::new("OneForAll", children), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let all = begun.load(Ordering::Relaxed) + children as u64;
                    fail.notify_one();
                    while begun.load(Ordering::Relaxed) < all {
                        tokio::task::yield_now().await;
                    }
                });
            });
        });
        runtime.block_on(stop(handle));
    }
    group.finish();
}

/// A chain of supervisors with a worker at its end.
fn deep(c: &mut Criterion) {
    const DEPTH: usize = 100;
    let chain = || {
        let end = SupervisorSpec::one_for_one("s").child(ChildSpec::worker("end", idle));
        (1..DEPTH).fold(end, |below, _| {
            SupervisorSpec::one_for_one("s").supervisor(below)
        })
    };
    let runtime = runtime();
    let end = format!("{}end", "s/".repeat(DEPTH - 1));
    let mut group = c.benchmark_group("a tree 100 deep");
    let timed = |iterations: u64, from_start: bool| -> Duration {
        let once = || async {
            let spec = chain();
            let began = Instant::now();
            let handle = Supervisor::start(spec).await.unwrap();
            let started = began.elapsed();
            assert_eq!(handle.child_status(&end).unwrap().as_str(), "running");
            let began = Instant::now();
            stop(handle).await;
            match from_start {
                true => started,
                false => began.elapsed(),
            }
        };
        (0..iterations).map(|_| runtime.block_on(once())).sum()
    };
    group.bench_function("start", |b| b.iter_custom(|n| timed(n, true)));
    group.bench_function("shutdown", |b| b.iter_custom(|n| timed(n, false)));
    let handle = runtime.block_on(Supervisor::start(chain())).unwrap();
    group.bench_function("status of the last", |b| {
        b.iter(|| handle.child_status(&end).unwrap());
    });
    group.finish();
    runtime.block_on(stop(handle));
}

criterion_group!(
    benches,
    layers,
    decision,
    journal,
    state,
    group_restart,
    deep
);
criterion_main!(benches);
