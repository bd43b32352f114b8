//! Less than the floor: a loop in each child's own task, which calls its function again; a panic ends the loop with it.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use harness::{Done, FailedAt, RESTARTS, Taken, failures, memory, operations, warm_up};
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
    });
}

async fn again<F: Future<Output = Result<(), &'static str>>>(mut run: impl FnMut() -> F) {
    while run().await.is_err() {
        // What fails at once must not keep the others waiting.
        tokio::task::consume_budget().await;
    }
}

struct Tasks {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn idle(stop: &CancellationToken, begun: &Arc<Done>) -> JoinHandle<()> {
    let (stop, begun) = (stop.child_token(), begun.clone());
    tokio::spawn(again(move || {
        let (stop, begun) = (stop.clone(), begun.clone());
        async move {
            begun.one();
            stop.cancelled().await;
            Ok(())
        }
    }))
}

async fn idles(n: usize) -> Tasks {
    let (stop, begun) = (CancellationToken::new(), Done::new());
    let tasks = (0..n).map(|_| idle(&stop, &begun)).collect();
    begun.reach(n).await;
    Tasks { stop, tasks }
}

fn running(tasks: &[JoinHandle<()>]) -> usize {
    tasks.iter().filter(|task| !task.is_finished()).count()
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let Tasks { tasks, .. } = idles(n).await;
    let took = began.elapsed();
    assert_eq!(running(&tasks), n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let Tasks { tasks, .. } = idles(n).await;
    let after = memory();
    assert_eq!(running(&tasks), n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let Tasks { stop, tasks } = idles(n).await;
    warm_up().await;
    let began = Instant::now();
    stop.cancel();
    for task in tasks {
        task.await.expect("it ends by itself");
    }
    Taken::each(began.elapsed(), n)
}

async fn crash_loops(children: usize) -> Taken {
    let (runs, mut loops) = (Done::new(), JoinSet::new());
    let began = Instant::now();
    for _ in 0..children {
        let runs = runs.clone();
        loops.spawn(again(move || {
            let runs = runs.clone();
            async move {
                match runs.one() >= RESTARTS {
                    true => Ok(()),
                    false => Err("as it does"),
                }
            }
        }));
    }
    loops.join_all().await;
    let took = began.elapsed();
    assert!(runs.count() >= RESTARTS);
    Taken::each(took, runs.count())
}

async fn restart(_: usize) -> Taken {
    crash_loops(1).await
}

async fn restart_1000(_: usize) -> Taken {
    crash_loops(1000).await
}

async fn latency(n: usize) -> Taken {
    let _siblings = idles(n).await;
    let (fail, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (failed_at, took) = (Arc::new(FailedAt::default()), Arc::new(Mutex::new(None)));
    tokio::spawn(again({
        let (fail, begun, failed_at, took) =
            (fail.clone(), begun.clone(), failed_at.clone(), took.clone());
        move || {
            *took.lock().unwrap() = failed_at.elapsed();
            begun.notify_one();
            let (fail, failed_at) = (fail.clone(), failed_at.clone());
            async move {
                fail.notified().await;
                failed_at.now();
                Err("as ordered")
            }
        }
    }));
    begun.notified().await;
    failures(|| async {
        fail.notify_one();
        begun.notified().await;
        took.lock().unwrap().take().expect("it failed")
    })
    .await
}
