//! task-supervisor 0.5: names, restarts with backoff, a status; no groups, no journal.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{ADDITIONS, Done, FailedAt, RESTARTS, Taken, failures, memory, operations, warm_up};
use task_supervisor::{
    CancellationToken, SupervisedTask, SupervisorBuilder, SupervisorHandle, TaskResult, TaskStatus,
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

#[derive(Clone)]
struct Idle(Arc<Done>);

impl SupervisedTask for Idle {
    async fn run(self, cancel: CancellationToken) -> TaskResult {
        self.0.one();
        cancel.cancelled().await;
        Ok(())
    }
}

/// Restarts at once and for ever.
fn eager() -> SupervisorBuilder {
    SupervisorBuilder::new()
        .with_unlimited_restarts()
        .with_base_restart_delay(Duration::ZERO)
        .with_max_restart_delay(Duration::ZERO)
}

fn tasks(builder: SupervisorBuilder, n: usize, begun: &Arc<Done>) -> SupervisorBuilder {
    (0..n).fold(builder, |builder, n| {
        builder.with_task(&format!("c{n}"), Idle(begun.clone()))
    })
}

async fn idles(n: usize) -> SupervisorHandle {
    let begun = Done::new();
    let handle = tasks(eager(), n, &begun).spawn();
    begun.reach(n).await;
    handle
}

async fn running(handle: &SupervisorHandle) -> usize {
    let statuses = handle.task_statuses().await.unwrap();
    let mut statuses = statuses.into_values();
    let running = statuses
        .by_ref()
        .filter(|status| *status == TaskStatus::Running);
    running.count()
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let handle = idles(n).await;
    let took = began.elapsed();
    assert_eq!(running(&handle).await, n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let handle = idles(n).await;
    let after = memory();
    assert_eq!(running(&handle).await, n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let begun = Done::new();
    let handle = tasks(eager(), n, &begun).spawn();
    begun.reach(n).await;
    warm_up().await;
    let began = Instant::now();
    handle.shutdown().await.unwrap();
    let took = began.elapsed();
    // Each task holds what it counts with: none is alive, nor what would run it again.
    while Arc::strong_count(&begun) > 1 {
        tokio::task::yield_now().await;
    }
    Taken::each(took, n)
}

#[derive(Clone)]
struct Crashes {
    times: usize,
    runs: Arc<Done>,
    over: Arc<Notify>,
}

impl SupervisedTask for Crashes {
    async fn run(self, cancel: CancellationToken) -> TaskResult {
        if self.runs.one() >= self.times {
            self.over.notify_one();
            cancel.cancelled().await;
            return Ok(());
        }
        Err("as it does".into())
    }
}

async fn crash_loops(children: usize, times: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let builder = (0..children).fold(eager(), |builder, n| {
        let (runs, over) = (runs.clone(), over.clone());
        builder.with_task(&format!("c{n}"), Crashes { times, runs, over })
    });
    let began = Instant::now();
    let _handle = builder.spawn();
    over.notified().await;
    assert!(runs.count() >= times);
    Taken::each(began.elapsed(), times)
}

/// Fewer times than elsewhere: each restart waits for the clock's next millisecond, also without a delay.
async fn restart(_: usize) -> Taken {
    crash_loops(1, 5_000).await
}

async fn restart_1000(_: usize) -> Taken {
    crash_loops(1000, RESTARTS).await
}

#[derive(Clone, Default)]
struct Probe {
    fail: Arc<Notify>,
    begun: Arc<Notify>,
    failed_at: Arc<FailedAt>,
    took: Arc<Mutex<Option<Duration>>>,
}

impl SupervisedTask for Probe {
    async fn run(self, _: CancellationToken) -> TaskResult {
        *self.took.lock().unwrap() = self.failed_at.elapsed();
        self.begun.notify_one();
        self.fail.notified().await;
        self.failed_at.now();
        Err("as ordered".into())
    }
}

async fn latency(n: usize) -> Taken {
    let (probe, siblings) = (Probe::default(), Done::new());
    let builder = tasks(eager(), n, &siblings).with_task("probe", probe.clone());
    let _handle = builder.spawn();
    siblings.reach(n).await;
    probe.begun.notified().await;
    failures(|| async {
        probe.fail.notify_one();
        probe.begun.notified().await;
        probe.took.lock().unwrap().take().expect("it failed")
    })
    .await
}

async fn add_remove(n: usize) -> Taken {
    let handle = idles(n).await;
    let begun = Done::new();
    let began = Instant::now();
    for time in 0..ADDITIONS {
        // A name that was killed stays taken.
        let name = format!("more{time}");
        handle.add_task(&name, Idle(begun.clone())).await.unwrap();
        begun.reach(time + 1).await;
        handle.kill_task(&name).await.unwrap();
    }
    let took = began.elapsed();
    assert_eq!(running(&handle).await, n);
    Taken::each(took, ADDITIONS)
}

async fn state(n: usize) -> Taken {
    const TIMES: usize = 20;
    let handle = idles(n).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        assert_eq!(black_box(handle.task_statuses().await.unwrap()).len(), n);
    }
    Taken::each(began.elapsed() / TIMES as u32, n)
}

async fn state_of_one(n: usize) -> Taken {
    const TIMES: usize = 20_000;
    let handle = idles(n).await;
    let name = format!("c{}", n / 2);
    let began = Instant::now();
    for _ in 0..TIMES {
        let status = handle.task_status(&name).await.unwrap();
        assert_eq!(black_box(status), TaskStatus::Running);
    }
    Taken::each(began.elapsed(), TIMES)
}
