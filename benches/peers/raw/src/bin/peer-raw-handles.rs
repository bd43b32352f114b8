//! Less than the floor: a task per child and its handle, aborted; nothing says to a task that it is to stop.

use std::{future::pending, sync::Arc, time::Instant};

use harness::{ADDITIONS, Done, Taken, memory, operations, warm_up};
use tokio::task::JoinHandle;

fn main() {
    harness::run(operations! {
        "start" => start,
        "memory" => memory_per_child,
        "shutdown" => shutdown,
        "add_remove" => add_remove,
    });
}

fn idle(begun: &Arc<Done>) -> JoinHandle<()> {
    let begun = begun.clone();
    tokio::spawn(async move {
        begun.one();
        pending().await
    })
}

async fn idles(n: usize) -> Vec<JoinHandle<()>> {
    let begun = Done::new();
    let tasks = (0..n).map(|_| idle(&begun)).collect();
    begun.reach(n).await;
    tasks
}

fn running(tasks: &[JoinHandle<()>]) -> usize {
    tasks.iter().filter(|task| !task.is_finished()).count()
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let tasks = idles(n).await;
    let took = began.elapsed();
    assert_eq!(running(&tasks), n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let tasks = idles(n).await;
    let after = memory();
    assert_eq!(running(&tasks), n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn aborted(task: JoinHandle<()>) {
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
}

async fn shutdown(n: usize) -> Taken {
    let tasks = idles(n).await;
    warm_up().await;
    let began = Instant::now();
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        aborted(task).await;
    }
    Taken::each(began.elapsed(), n)
}

async fn add_remove(n: usize) -> Taken {
    let (tasks, begun) = (idles(n).await, Done::new());
    let began = Instant::now();
    for time in 0..ADDITIONS {
        let task = idle(&begun);
        begun.reach(time + 1).await;
        task.abort();
        aborted(task).await;
    }
    let took = began.elapsed();
    assert_eq!(running(&tasks), n);
    Taken::each(took, ADDITIONS)
}
