//! This library: children in the default stack unless said otherwise, with names, limits, state and journal on.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::Instant,
};

use harness::{Done, FailedAt, RESTARTS, Taken, failures, memory, operations};
use rust_supervisor::{
    ChildSpec, ChildStatus, CommandMeta, ShutdownOrder, Supervisor, SupervisorHandle, SupervisorSpec,
    TaskContext, secs,
};
use tokio::sync::Notify;

fn main() {
    harness::run(operations! {
        "start" => start,
        "memory" => memory_per_child,
        "shutdown" => shutdown,
        "shutdown_reverse" => shutdown_reverse,
        "restart" => restart,
        "restart_1000" => restart_1000,
        "latency" => latency,
        "one_for_all" => one_for_all,
        "add_remove" => add_remove,
        "state" => state,
        "state_of_one" => state_of_one,
    });
}

fn by() -> CommandMeta {
    CommandMeta::new("bench", "measuring").unwrap()
}

fn idle(id: String, begun: &Arc<Done>) -> ChildSpec {
    let begun = begun.clone();
    ChildSpec::worker(id, move |ctx: TaskContext| {
        begun.one();
        async move { ctx.cancelled().await }
    })
}

fn tree(spec: SupervisorSpec, n: usize, begun: &Arc<Done>) -> SupervisorSpec {
    (0..n)
        .map(|n| idle(format!("c{n}"), begun))
        .fold(spec, SupervisorSpec::child)
        .total_timeout(secs(300))
        .intensity(u32::MAX, secs(1))
}

async fn idles(spec: SupervisorSpec, n: usize) -> SupervisorHandle {
    let begun = Done::new();
    let handle = Supervisor::start(tree(spec, n, &begun)).await.unwrap();
    begun.reach(n).await;
    handle
}

fn one_for_one() -> SupervisorSpec {
    SupervisorSpec::one_for_one("bench")
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let handle = idles(one_for_one(), n).await;
    let took = began.elapsed();
    assert_eq!(handle.health().children["running"], n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let handle = idles(one_for_one(), n).await;
    let after = memory();
    assert_eq!(handle.health().children["running"], n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn stop(n: usize, order: ShutdownOrder) -> Taken {
    let handle = idles(one_for_one().shutdown_order(order), n).await;
    let began = Instant::now();
    let result = handle.shutdown_tree(&by()).await.unwrap();
    let took = began.elapsed();
    assert!(result.clean && result.report.children.len() == n);
    Taken::each(took, n)
}

async fn shutdown(n: usize) -> Taken {
    stop(n, ShutdownOrder::Parallel).await
}

async fn shutdown_reverse(n: usize) -> Taken {
    stop(n, ShutdownOrder::Reverse).await
}

/// Fails as soon as it runs, until it has run so often.
fn crashes(id: String, runs: &Arc<Done>, over: &Arc<Notify>) -> ChildSpec {
    let (runs, over) = (runs.clone(), over.clone());
    ChildSpec::worker(id, move |ctx: TaskContext| {
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
    .no_fuse()
    .backoff(None)
}

async fn crash_loops(children: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let spec = (0..children)
        .map(|n| crashes(format!("c{n}"), &runs, &over))
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

async fn restart(_: usize) -> Taken {
    crash_loops(1).await
}

async fn restart_1000(_: usize) -> Taken {
    crash_loops(1000).await
}

async fn latency(n: usize) -> Taken {
    let (fail, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (failed_at, took) = (Arc::new(FailedAt::default()), Arc::new(Mutex::new(None)));
    let probe = ChildSpec::worker("probe", {
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
    let probe = probe.no_fuse().backoff(None);
    let siblings = Done::new();
    let spec = tree(one_for_one().child(probe), n, &siblings);
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

async fn one_for_all(n: usize) -> Taken {
    let fail = Arc::new(Notify::new());
    let first = ChildSpec::worker("first", {
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
    let first = first.no_fuse().backoff(None);
    let begun = Done::new();
    let spec = tree(SupervisorSpec::one_for_all("bench").child(first), n, &begun);
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

async fn add_remove(n: usize) -> Taken {
    const TIMES: usize = 5_000;
    let handle = idles(one_for_one(), n).await;
    let (by, begun) = (by(), Done::new());
    let began = Instant::now();
    for _ in 0..TIMES {
        let child = idle("more".to_owned(), &begun);
        handle.add_child("/", child, &by).await.unwrap();
        handle.remove_child("more", &by).await.unwrap();
    }
    let took = began.elapsed();
    assert_eq!(begun.count(), TIMES);
    assert_eq!(handle.health().children["running"], n);
    Taken::each(took, TIMES)
}

async fn state(n: usize) -> Taken {
    const TIMES: usize = 20;
    let handle = idles(one_for_one(), n).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        assert_eq!(black_box(handle.statuses()).len(), n);
    }
    Taken::each(began.elapsed() / TIMES as u32, n)
}

async fn state_of_one(n: usize) -> Taken {
    const TIMES: usize = 100_000;
    let handle = idles(one_for_one(), n).await;
    let path = format!("c{}", n / 2);
    let began = Instant::now();
    for _ in 0..TIMES {
        let status = black_box(handle.child_status(&path)).unwrap();
        assert_eq!(status, ChildStatus::Running);
    }
    Taken::each(began.elapsed(), TIMES)
}
