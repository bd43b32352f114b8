//! What a tree costs: start, shutdown, state, restarts. Times are printed, never asserted; every iteration
//! checks that the work was done.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rust_supervisor::{
    ChildSpec, CommandMeta, ShutdownOrder, Supervisor, SupervisorHandle, SupervisorSpec,
    TaskContext, secs,
};
use tokio::{runtime::Runtime, sync::Notify, time::Instant};

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

fn tree(children: usize, order: ShutdownOrder) -> SupervisorSpec {
    (0..children)
        .fold(SupervisorSpec::one_for_one("bench"), |tree, n| {
            tree.child(ChildSpec::worker(format!("c{n}"), idle))
        })
        .shutdown_order(order)
        .total_timeout(secs(300))
}

async fn start(children: usize, order: ShutdownOrder) -> SupervisorHandle {
    Supervisor::start(tree(children, order)).await.unwrap()
}

async fn stop(handle: SupervisorHandle, children: usize) {
    let result = handle
        .shutdown_tree(&CommandMeta::new("bench", "done").unwrap())
        .await
        .unwrap();
    assert!(result.clean);
    assert_eq!(result.report.children.len(), children);
}

/// Times `work` alone, for each iteration on a fresh tree.
fn timed<W, Fut>(runtime: &Runtime, iterations: u64, work: W) -> Duration
where
    W: Fn() -> Fut,
    Fut: Future<Output = Duration>,
{
    (0..iterations).map(|_| runtime.block_on(work())).sum()
}

fn start_and_stop(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("tree");
    group.sample_size(10);
    for children in [1_000, 10_000] {
        group.throughput(Throughput::Elements(children as u64));
        group.bench_function(BenchmarkId::new("start", children), |b| {
            b.iter_custom(|iterations| {
                timed(&runtime, iterations, async || {
                    let spec = tree(children, ShutdownOrder::Parallel);
                    let began = Instant::now();
                    let handle = Supervisor::start(spec).await.unwrap();
                    let took = began.elapsed();
                    stop(handle, children).await;
                    took
                })
            });
        });
        for order in [ShutdownOrder::Parallel, ShutdownOrder::Reverse] {
            group.bench_function(
                BenchmarkId::new(format!("shutdown {order:?}"), children),
                |b| {
                    b.iter_custom(|iterations| {
                        timed(&runtime, iterations, async || {
                            let handle = start(children, order).await;
                            let began = Instant::now();
                            stop(handle, children).await;
                            began.elapsed()
                        })
                    });
                },
            );
        }
        let handle = runtime.block_on(start(children, ShutdownOrder::Parallel));
        group.bench_function(BenchmarkId::new("state", children), |b| {
            b.iter(|| {
                assert_eq!(
                    black_box(handle.current_state()).root.children.len(),
                    children
                );
            });
        });
        runtime.block_on(stop(handle, children));
    }
    group.finish();
}

/// A crash loop without backoff, alone and among idle siblings: the work per exit does not depend on them.
fn restarts(c: &mut Criterion) {
    const RUNS: u64 = 10_000;
    let runtime = runtime();
    let mut group = c.benchmark_group("restart");
    group.sample_size(10).throughput(Throughput::Elements(RUNS));
    for siblings in [0, 100, 10_000] {
        group.bench_function(
            BenchmarkId::new("in place, among siblings", siblings),
            |b| {
                b.iter_custom(|iterations| {
                    timed(&runtime, iterations, async || {
                        let (go, done, runs) = (
                            Arc::new(Notify::new()),
                            Arc::new(Notify::new()),
                            Arc::default(),
                        );
                        let crashing = {
                            let (go, done, runs): (_, _, Arc<AtomicU64>) =
                                (go.clone(), done.clone(), Arc::clone(&runs));
                            ChildSpec::worker("crashing", move |ctx: TaskContext| {
                                let (go, done, runs) = (go.clone(), done.clone(), runs.clone());
                                async move {
                                    if ctx.generation() == 1 {
                                        go.notified().await;
                                    }
                                    if runs.fetch_add(1, Ordering::Relaxed) == RUNS {
                                        done.notify_one();
                                        ctx.cancelled().await;
                                        return Ok(());
                                    }
                                    Err("again")
                                }
                            })
                            .backoff(None)
                            .fuse(u32::MAX - 1, Duration::from_millis(1))
                        };
                        let spec = tree(siblings, ShutdownOrder::Parallel).child(crashing);
                        let handle = Supervisor::start(spec).await.unwrap();
                        let began = Instant::now();
                        go.notify_one();
                        done.notified().await;
                        let took = began.elapsed();
                        assert_eq!(handle.child_state("crashing").unwrap().restarts, RUNS);
                        stop(handle, siblings + 1).await;
                        took
                    })
                });
            },
        );
    }
    group.finish();
}

fn dynamic(c: &mut Criterion) {
    let runtime = runtime();
    let by = CommandMeta::new("bench", "coming and going").unwrap();
    let mut group = c.benchmark_group("add and remove");
    for siblings in [0, 10_000] {
        let handle = runtime.block_on(start(siblings, ShutdownOrder::Parallel));
        group.bench_function(BenchmarkId::new("among siblings", siblings), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    handle
                        .add_child("/", ChildSpec::worker("x", idle), &by)
                        .await
                        .unwrap();
                    handle.remove_child("x", &by).await.unwrap();
                });
            });
        });
        runtime.block_on(stop(handle, siblings));
    }
    group.finish();
}

criterion_group!(benches, start_and_stop, restarts, dynamic);
criterion_main!(benches);
