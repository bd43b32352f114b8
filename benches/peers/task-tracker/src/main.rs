//! tokio-util 0.7's `TaskTracker` with a `CancellationToken`: counts tasks and waits for all; no names, no restarts, no
//! groups, no state but how many there are.

use std::{sync::Arc, time::Instant};

use harness::{ADDITIONS, Done, Taken, memory, operations, warm_up};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

fn main() {
    harness::run(operations! {
        "start" => start,
        "memory" => memory_per_child,
        "shutdown" => shutdown,
        "add_remove" => add_remove,
    });
}

struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    fn idle(&self, stop: CancellationToken, begun: &Arc<Done>) -> JoinHandle<()> {
        let begun = begun.clone();
        self.tracker.spawn(async move {
            begun.one();
            stop.cancelled().await;
        })
    }
}

async fn idles(n: usize) -> Tasks {
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let (tasks, begun) = (Tasks { stop, tracker }, Done::new());
    for _ in 0..n {
        tasks.idle(tasks.stop.child_token(), &begun);
    }
    begun.reach(n).await;
    tasks
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let tasks = idles(n).await;
    let took = began.elapsed();
    assert_eq!(tasks.tracker.len(), n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let tasks = idles(n).await;
    let after = memory();
    assert_eq!(tasks.tracker.len(), n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let Tasks { stop, tracker } = idles(n).await;
    warm_up().await;
    let began = Instant::now();
    tracker.close();
    stop.cancel();
    tracker.wait().await;
    let took = began.elapsed();
    assert!(tracker.is_empty());
    Taken::each(took, n)
}

async fn add_remove(n: usize) -> Taken {
    let tasks = idles(n).await;
    let begun = Done::new();
    let began = Instant::now();
    for time in 1..=ADDITIONS {
        let own = tasks.stop.child_token();
        let task = tasks.idle(own.clone(), &begun);
        begun.reach(time).await;
        own.cancel();
        task.await.expect("it ends by itself");
    }
    let took = began.elapsed();
    assert_eq!((begun.count(), tasks.tracker.len()), (ADDITIONS, n));
    Taken::each(took, ADDITIONS)
}
