//! The floor: a task per child with a cancellation token, joined; no names, no limits, no state, no history.

use std::{sync::Arc, time::Instant};

use harness::{ADDITIONS, Done, FailedAt, RESTARTS, Taken, failures, memory, operations, warm_up};
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

fn main() {
    harness::run(operations! {
        "start" => start,
        "memory" => memory_per_child,
        "shutdown" => shutdown,
        "restart" => restart,
        "restart_1000" => restart_1000,
        "latency" => latency,
        "one_for_all" => one_for_all,
        "add_remove" => add_remove,
    });
}

struct Tasks {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn idle(stop: &CancellationToken, begun: &Arc<Done>) -> JoinHandle<()> {
    let (stop, begun) = (stop.child_token(), begun.clone());
    tokio::spawn(async move {
        begun.one();
        stop.cancelled().await;
    })
}

async fn idles(n: usize, begun: &Arc<Done>) -> Tasks {
    let stop = CancellationToken::new();
    let tasks = (0..n).map(|_| idle(&stop, begun)).collect();
    begun.reach(n).await;
    Tasks { stop, tasks }
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("it ends by itself");
    }
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let tasks = idles(n, &Done::new()).await;
    let took = began.elapsed();
    assert_eq!(tasks.tasks.len(), n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let tasks = idles(n, &Done::new()).await;
    let after = memory();
    assert_eq!(tasks.tasks.len(), n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let Tasks { stop, tasks } = idles(n, &Done::new()).await;
    warm_up().await;
    let began = Instant::now();
    stop.cancel();
    join(tasks).await;
    Taken::each(began.elapsed(), n)
}

/// One task after the other, each joined: what a loop around `tokio::spawn` does.
async fn restart(_: usize) -> Taken {
    let runs = Done::new();
    let again = tokio::spawn({
        let runs = runs.clone();
        async move {
            while runs.count() < RESTARTS {
                let runs = runs.clone();
                let run = tokio::spawn(async move {
                    runs.one();
                });
                run.await.expect("it ends by itself");
            }
        }
    });
    let began = Instant::now();
    again.await.expect("it ends by itself");
    assert_eq!(runs.count(), RESTARTS);
    Taken::each(began.elapsed(), RESTARTS)
}

async fn restart_1000(_: usize) -> Taken {
    let runs = Done::new();
    let mut loops = JoinSet::new();
    let began = Instant::now();
    for _ in 0..1000 {
        let runs = runs.clone();
        loops.spawn(async move {
            while runs.count() < RESTARTS {
                let runs = runs.clone();
                let run = tokio::spawn(async move {
                    runs.one();
                });
                run.await.expect("it ends by itself");
            }
        });
    }
    while loops.join_next().await.is_some() {}
    let count = runs.count();
    assert!(count >= RESTARTS);
    Taken::each(began.elapsed(), count)
}

async fn latency(n: usize) -> Taken {
    let _siblings = idles(n, &Done::new()).await;
    let (fail, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (failed_at, took) = (
        Arc::new(FailedAt::default()),
        Arc::new(std::sync::Mutex::new(None)),
    );
    tokio::spawn({
        let (fail, begun, failed_at, took) =
            (fail.clone(), begun.clone(), failed_at.clone(), took.clone());
        async move {
            loop {
                let (fail, begun, failed_at, took) =
                    (fail.clone(), begun.clone(), failed_at.clone(), took.clone());
                let run = tokio::spawn(async move {
                    *took.lock().unwrap() = failed_at.elapsed();
                    begun.notify_one();
                    fail.notified().await;
                    failed_at.now();
                });
                run.await.expect("it ends by itself");
            }
        }
    });
    begun.notified().await;
    failures(|| async {
        fail.notify_one();
        begun.notified().await;
        took.lock().unwrap().take().expect("it failed")
    })
    .await
}

async fn one_for_all(n: usize) -> Taken {
    let begun = Done::new();
    let Tasks { stop, tasks } = idles(n, &begun).await;
    let began = Instant::now();
    stop.cancel();
    join(tasks).await;
    let stop = CancellationToken::new();
    let again: Vec<_> = (0..n).map(|_| idle(&stop, &begun)).collect();
    begun.reach(2 * n).await;
    assert_eq!(again.len(), n);
    Taken::each(began.elapsed(), n)
}

async fn add_remove(n: usize) -> Taken {
    let begun = Done::new();
    let Tasks { stop, .. } = idles(n, &begun).await;
    let began = Instant::now();
    for time in 1..=ADDITIONS {
        let own = stop.child_token();
        let task = idle(&own, &begun);
        begun.reach(n + time).await;
        own.cancel();
        task.await.expect("it ends by itself");
    }
    Taken::each(began.elapsed(), ADDITIONS)
}
