//! This library, with names, limits, state and journal on: `peer-this` has its children in the default stack,
//! `peer-this-bare` as they are, with nothing around them but what restarts them where they are to be restarted.

use std::{
    future::Future,
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{ADDITIONS, Done, FailedAt, RESTARTS, Taken, failures, memory, operations, warm_up};
use rust_supervisor::{
    ChildSpec, ChildStatus, CommandMeta, IntoTaskResult, RestartLayer, ShutdownOrder, Supervisor,
    SupervisorHandle, SupervisorSpec, TaskContext, secs, service_fn,
};
use tokio::sync::Notify;
use tower::ServiceBuilder;

/// How a function becomes a child.
pub trait Stack: 'static {
    /// One that waits to be stopped.
    fn idle<F, Fut>(id: String, f: F) -> ChildSpec
    where
        F: Fn(TaskContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoTaskResult> + Send + 'static;

    /// One that fails, and runs again at once and for ever.
    fn failing<F, Fut>(id: String, f: F) -> ChildSpec
    where
        F: Fn(TaskContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoTaskResult> + Send + 'static;
}

/// The default stack.
pub struct DefaultStack;

impl Stack for DefaultStack {
    fn idle<F, Fut>(id: String, f: F) -> ChildSpec
    where
        F: Fn(TaskContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoTaskResult> + Send + 'static,
    {
        ChildSpec::worker(id, f)
    }

    fn failing<F, Fut>(id: String, f: F) -> ChildSpec
    where
        F: Fn(TaskContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoTaskResult> + Send + 'static,
    {
        ChildSpec::worker(id, f).no_fuse().backoff(None)
    }
}

/// The function as it is.
pub struct NoStack;

impl Stack for NoStack {
    fn idle<F, Fut>(id: String, f: F) -> ChildSpec
    where
        F: Fn(TaskContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoTaskResult> + Send + 'static,
    {
        ChildSpec::new(id, service_fn(f))
    }

    fn failing<F, Fut>(id: String, f: F) -> ChildSpec
    where
        F: Fn(TaskContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoTaskResult> + Send + 'static,
    {
        let again = ServiceBuilder::new().layer(RestartLayer::permanent());
        ChildSpec::new(id, again.service(service_fn(f)))
    }
}

/// Does what the command line says.
pub fn run<S: Stack>() {
    harness::run(operations! {
        "start" => start::<S>,
        "memory" => memory_per_child::<S>,
        "shutdown" => shutdown::<S>,
        "shutdown_reverse" => shutdown_reverse::<S>,
        "restart" => restart::<S>,
        "restart_1000" => restart_1000::<S>,
        "latency" => latency::<S>,
        "one_for_all" => one_for_all::<S>,
        "add_remove" => add_remove::<S>,
        "add_remove_by_command" => add_remove_by_command::<S>,
        "state" => state::<S>,
        "state_of_one" => state_of_one::<S>,
    });
}

fn by() -> CommandMeta {
    CommandMeta::new("bench", "measuring").unwrap()
}

fn idle<S: Stack>(id: String, begun: &Arc<Done>) -> ChildSpec {
    let begun = begun.clone();
    S::idle(id, move |ctx: TaskContext| {
        begun.one();
        async move { ctx.cancelled().await }
    })
}

fn tree<S: Stack>(spec: SupervisorSpec, n: usize, begun: &Arc<Done>) -> SupervisorSpec {
    (0..n)
        .map(|n| idle::<S>(format!("c{n}"), begun))
        .fold(spec, SupervisorSpec::child)
        .total_timeout(secs(300))
        .intensity(u32::MAX, secs(1))
}

async fn idles<S: Stack>(spec: SupervisorSpec, n: usize) -> SupervisorHandle {
    let begun = Done::new();
    let handle = Supervisor::start(tree::<S>(spec, n, &begun)).await.unwrap();
    begun.reach(n).await;
    handle
}

fn one_for_one() -> SupervisorSpec {
    SupervisorSpec::one_for_one("bench")
}

async fn start<S: Stack>(n: usize) -> Taken {
    let began = Instant::now();
    let handle = idles::<S>(one_for_one(), n).await;
    let took = began.elapsed();
    assert_eq!(handle.health().children["running"], n);
    Taken::each(took, n)
}

async fn memory_per_child<S: Stack>(n: usize) -> Taken {
    let before = memory();
    let handle = idles::<S>(one_for_one(), n).await;
    let after = memory();
    assert_eq!(handle.health().children["running"], n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn stop<S: Stack>(n: usize, order: ShutdownOrder) -> Taken {
    let handle = idles::<S>(one_for_one().shutdown_order(order), n).await;
    warm_up().await;
    let began = Instant::now();
    let result = handle.shutdown_tree(&by()).await.unwrap();
    let took = began.elapsed();
    assert!(
        result.clean && result.report.children.len() == n,
        "{} {}",
        result,
        result.report.children.len()
    );
    Taken::each(took, n)
}

async fn shutdown<S: Stack>(n: usize) -> Taken {
    stop::<S>(n, ShutdownOrder::Parallel).await
}

async fn shutdown_reverse<S: Stack>(n: usize) -> Taken {
    stop::<S>(n, ShutdownOrder::Reverse).await
}

/// Fails as soon as it runs, until it has run so often.
fn crashes<S: Stack>(id: String, runs: &Arc<Done>, over: &Arc<Notify>) -> ChildSpec {
    let (runs, over) = (runs.clone(), over.clone());
    S::failing(id, move |ctx: TaskContext| {
        let (runs, over) = (runs.clone(), over.clone());
        async move {
            // A first start that fails is not retried.
            if ctx.generation() == 1 {
                tokio::task::yield_now().await;
            }
            if runs.one() >= RESTARTS {
                over.notify_one();
                ctx.cancelled().await;
                return Ok(());
            }
            Err("as it does")
        }
    })
}

async fn crash_loops<S: Stack>(children: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let spec = (0..children)
        .map(|n| crashes::<S>(format!("c{n}"), &runs, &over))
        .fold(one_for_one(), SupervisorSpec::child)
        .intensity(u32::MAX, secs(1));
    let began = Instant::now();
    let handle = Supervisor::start(spec).await.unwrap();
    over.notified().await;
    let took = began.elapsed();
    let counted: u64 = handle
        .current_state()
        .iter()
        .map(|node| node.restarts)
        .sum();
    assert!(counted as usize + children >= RESTARTS);
    Taken::each(took, RESTARTS)
}

async fn restart<S: Stack>(_: usize) -> Taken {
    crash_loops::<S>(1).await
}

async fn restart_1000<S: Stack>(_: usize) -> Taken {
    crash_loops::<S>(1000).await
}

async fn latency<S: Stack>(n: usize) -> Taken {
    let (fail, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (failed_at, took) = (Arc::new(FailedAt::default()), Arc::new(Mutex::new(None)));
    let probe = S::failing("probe".to_owned(), {
        let (fail, begun, failed_at, took) =
            (fail.clone(), begun.clone(), failed_at.clone(), took.clone());
        move |_: TaskContext| {
            *took.lock().unwrap() = failed_at.elapsed();
            begun.notify_one();
            let (fail, failed_at) = (fail.clone(), failed_at.clone());
            async move {
                fail.notified().await;
                failed_at.now();
                Err::<(), _>("as ordered")
            }
        }
    });
    let siblings = Done::new();
    let spec = tree::<S>(one_for_one().child(probe), n, &siblings);
    let _handle = Supervisor::start(spec).await.unwrap();
    siblings.reach(n).await;
    begun.notified().await;
    failures(|| async {
        fail.notify_one();
        begun.notified().await;
        took.lock().unwrap().take().expect("it failed")
    })
    .await
}

async fn one_for_all<S: Stack>(n: usize) -> Taken {
    let fail = Arc::new(Notify::new());
    let first = S::failing("first".to_owned(), {
        let fail = fail.clone();
        move |ctx: TaskContext| {
            let fail = fail.clone();
            async move {
                match ctx.run_until_cancelled(fail.notified()).await {
                    Some(()) => Err("as ordered"),
                    None => Ok(()),
                }
            }
        }
    });
    let begun = Done::new();
    let spec = tree::<S>(SupervisorSpec::one_for_all("bench").child(first), n, &begun);
    let handle = Supervisor::start(spec).await.unwrap();
    begun.reach(n).await;
    let began = Instant::now();
    fail.notify_one();
    begun.reach(2 * n).await;
    let took = began.elapsed();
    assert_eq!(
        handle
            .current_state()
            .root
            .supervisor
            .as_ref()
            .map(|root| root.group_restarts),
        Some(1)
    );
    Taken::each(took, n)
}

/// As a program does it by itself.
async fn add_remove<S: Stack>(n: usize) -> Taken {
    let (handle, begun) = (idles::<S>(one_for_one(), n).await, Done::new());
    let children = handle.children("/").unwrap();
    let began = Instant::now();
    for _ in 0..ADDITIONS {
        let more = idle::<S>("more".to_owned(), &begun);
        let added = children.add(more).await.unwrap();
        added.remove().await.unwrap();
    }
    came_and_went(&handle, n, &begun, began.elapsed())
}

/// As people and their tools do it, saying who they are and why.
async fn add_remove_by_command<S: Stack>(n: usize) -> Taken {
    let (handle, begun) = (idles::<S>(one_for_one(), n).await, Done::new());
    let by = by();
    let began = Instant::now();
    for _ in 0..ADDITIONS {
        let more = idle::<S>("more".to_owned(), &begun);
        handle.add_child("/", more, &by).await.unwrap();
        handle.remove_child("more", &by).await.unwrap();
    }
    came_and_went(&handle, n, &begun, began.elapsed())
}

fn came_and_went(handle: &SupervisorHandle, n: usize, begun: &Done, took: Duration) -> Taken {
    assert_eq!(begun.count(), ADDITIONS);
    assert_eq!(handle.health().children["running"], n);
    Taken::each(took, ADDITIONS)
}

async fn state<S: Stack>(n: usize) -> Taken {
    const TIMES: usize = 20;
    let handle = idles::<S>(one_for_one(), n).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        assert_eq!(black_box(handle.statuses()).len(), n);
    }
    Taken::each(began.elapsed() / TIMES as u32, n)
}

async fn state_of_one<S: Stack>(n: usize) -> Taken {
    const TIMES: usize = 100_000;
    let handle = idles::<S>(one_for_one(), n).await;
    let path = format!("c{}", n / 2);
    let began = Instant::now();
    for _ in 0..TIMES {
        let status = black_box(handle.child_status(&path)).unwrap();
        assert_eq!(status, ChildStatus::Running);
    }
    Taken::each(began.elapsed(), TIMES)
}
