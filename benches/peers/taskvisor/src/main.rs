//! taskvisor 0.9: names, restarts with backoff, what is registered and whether it runs; no groups, no journal.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{ADDITIONS, Done, FailedAt, RESTARTS, Taken, failures, memory, operations, warm_up};
use taskvisor::{
    BackoffPolicy, Supervisor, SupervisorConfig, SupervisorHandle, TaskContext, TaskError, TaskFn,
    TaskRef, TaskSpec,
};
use tokio::sync::Notify;

fn main() {
    harness::run(operations! {
        "start" => start,
        "memory" => memory_per_child,
        "shutdown" => shutdown,
        "restart" => restart,
        "restart_1000" => restart_1000,
        "latency" => latency,
        "add_remove" => add_remove,
        "state" => state,
        "state_of_one" => state_of_one,
    });
}

/// Without limits to how many.
fn supervisor() -> Arc<Supervisor> {
    let config = SupervisorConfig::new()
        .with_grace(Duration::from_secs(300))
        .with_max_registered_tasks(None)
        .with_ownership_capacity(None);
    Supervisor::builder(config).build()
}

/// All in one batch, which is what `run` is for; the handle sees and stops what runs.
fn run(specs: Vec<TaskSpec>) -> SupervisorHandle {
    let supervisor = supervisor();
    let handle = supervisor.serve().unwrap();
    tokio::spawn(async move { supervisor.run(specs).await.unwrap() });
    handle
}

/// Restarts at once and for ever.
fn eager(name: String, task: TaskRef) -> TaskSpec {
    TaskSpec::restartable(name, task)
        .with_backoff(BackoffPolicy::constant(Duration::ZERO))
        .with_max_retries(None)
}

fn idle(name: String, begun: &Arc<Done>) -> TaskSpec {
    let begun = begun.clone();
    let task = TaskFn::arc(move |context: TaskContext| {
        begun.one();
        async move {
            context.cancelled().await;
            Err(TaskError::Canceled)
        }
    });
    eager(name, task)
}

async fn idles(n: usize) -> SupervisorHandle {
    let begun = Done::new();
    let handle = run((0..n).map(|n| idle(format!("c{n}"), &begun)).collect());
    begun.reach(n).await;
    handle
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let handle = idles(n).await;
    let took = began.elapsed();
    assert_eq!(handle.alive_snapshot().await.len(), n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let handle = idles(n).await;
    let after = memory();
    assert_eq!(handle.alive_snapshot().await.len(), n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let handle = idles(n).await;
    let after = handle.clone();
    warm_up().await;
    let began = Instant::now();
    handle.shutdown().await.unwrap();
    let took = began.elapsed();
    assert_eq!(after.alive_snapshot().await.len(), 0);
    Taken::each(took, n)
}

/// Fails as soon as it runs, until it has run so often.
fn crashes(name: String, runs: &Arc<Done>, over: &Arc<Notify>) -> TaskSpec {
    let (runs, over) = (runs.clone(), over.clone());
    let task = TaskFn::arc(move |context: TaskContext| {
        let (runs, over) = (runs.clone(), over.clone());
        async move {
            if runs.one() >= RESTARTS {
                over.notify_one();
                context.cancelled().await;
                return Err(TaskError::Canceled);
            }
            Err(TaskError::fail("as it does"))
        }
    });
    eager(name, task)
}

async fn crash_loops(children: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let began = Instant::now();
    let children = 0..children;
    let specs = children.map(|n| crashes(format!("c{n}"), &runs, &over));
    let _handle = run(specs.collect());
    over.notified().await;
    assert!(runs.count() >= RESTARTS);
    Taken::each(began.elapsed(), RESTARTS)
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
    let probe = TaskFn::arc({
        let (fail, begun, failed_at, took) =
            (fail.clone(), begun.clone(), failed_at.clone(), took.clone());
        move |_: TaskContext| {
            *took.lock().unwrap() = failed_at.elapsed();
            begun.notify_one();
            let (fail, failed_at) = (fail.clone(), failed_at.clone());
            async move {
                fail.notified().await;
                failed_at.now();
                Err(TaskError::fail("as ordered"))
            }
        }
    });
    let handle = idles(n).await;
    handle.add(eager("probe".to_owned(), probe)).await.unwrap();
    begun.notified().await;
    failures(|| async {
        fail.notify_one();
        begun.notified().await;
        took.lock().unwrap().take().expect("it failed")
    })
    .await
}

async fn add_remove(n: usize) -> Taken {
    let handle = idles(n).await;
    let begun = Done::new();
    let began = Instant::now();
    for time in 0..ADDITIONS {
        let more = handle.add(idle("more".to_owned(), &begun)).await.unwrap();
        begun.reach(time + 1).await;
        assert!(handle.cancel(more).execute().await.unwrap());
    }
    let took = began.elapsed();
    assert_eq!(begun.count(), ADDITIONS);
    assert_eq!(handle.alive_snapshot().await.len(), n);
    Taken::each(took, ADDITIONS)
}

async fn state(n: usize) -> Taken {
    const TIMES: usize = 20;
    let handle = idles(n).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        assert_eq!(black_box(handle.alive_snapshot().await).len(), n);
    }
    Taken::each(began.elapsed() / TIMES as u32, n)
}

async fn state_of_one(n: usize) -> Taken {
    const TIMES: usize = 20_000;
    let handle = idles(n).await;
    let name = format!("c{}", n / 2);
    let began = Instant::now();
    for _ in 0..TIMES {
        assert!(black_box(handle.is_alive(&name).await));
    }
    Taken::each(began.elapsed(), TIMES)
}
