//! What observers cost those who are observed: ten subscribers, one of which never reads, while a storm of
//! restarts makes a hundred thousand events a second and more. Figures are printed, never asserted.
//!
//! `cargo bench --bench observers`, or with `-- SECONDS` for another length than a minute.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rust_supervisor::{
    ChildSpec, CommandMeta, EventItem, Supervisor, SupervisorHandle, SupervisorSpec, TaskContext,
    ms, secs,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

const STORM: usize = 80;
const SUBSCRIBERS: usize = 10;

/// The time from a failure to the next run, again and again.
#[derive(Default)]
struct Probe {
    fail: Notify,
    begun: Notify,
    failed_at: Mutex<Option<Instant>>,
    latencies: Mutex<Vec<Duration>>,
}

async fn probed(ctx: TaskContext, probe: Arc<Probe>) -> Result<(), &'static str> {
    let failed_at = probe.failed_at.lock().unwrap().take();
    if let Some(failed_at) = failed_at {
        probe.latencies.lock().unwrap().push(failed_at.elapsed());
    }
    probe.begun.notify_one();
    if ctx
        .run_until_cancelled(probe.fail.notified())
        .await
        .is_none()
    {
        return Ok(());
    }
    *probe.failed_at.lock().unwrap() = Some(Instant::now());
    Err("as ordered")
}

async fn storms(ctx: TaskContext) -> Result<(), &'static str> {
    match ctx.run_until_cancelled(sleep(ms(1))).await {
        Some(()) => Err("as it does"),
        None => Ok(()),
    }
}

/// Lets the probe fail for so long; median and 99th percentile of its latencies.
async fn measure(probe: &Probe, time: Duration) -> (Duration, Duration) {
    probe.latencies.lock().unwrap().clear();
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(ms(5)).await;
        probe.fail.notify_one();
        probe.begun.notified().await;
    }
    let mut latencies = probe.latencies.lock().unwrap().clone();
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    (at(50), at(99))
}

/// Resident memory in KiB, where that can be read.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .unwrap_or_default()
}

fn head(handle: &SupervisorHandle) -> u64 {
    handle.current_state().as_of
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok());
    let time = secs(seconds.unwrap_or(60));
    let probe = Arc::new(Probe::default());
    let mut tree = SupervisorSpec::one_for_one("bench")
        .intensity(u32::MAX, secs(1))
        .child(
            ChildSpec::worker("probe", {
                let probe = probe.clone();
                move |ctx| probed(ctx, probe.clone())
            })
            .no_fuse()
            .backoff(None),
        );
    for n in 0..STORM {
        tree = tree.child(
            ChildSpec::worker(format!("storm{n}"), storms)
                .no_fuse()
                .backoff(None),
        );
    }
    let handle = Supervisor::start(tree).await.unwrap();
    probe.begun.notified().await;

    let (median, p99) = measure(&probe, time / 6).await;
    println!("nobody subscribes: restart in {median:?}, 99 % within {p99:?}");

    let stalled = handle.subscribe_events().named("stalled");
    let (read, missed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for n in 1..SUBSCRIBERS {
        let mut events = handle.subscribe_events().named(format!("reader {n}"));
        let (read, missed) = (read.clone(), missed.clone());
        tokio::spawn(async move {
            while let Some(item) = events.next().await {
                match item {
                    EventItem::Event(_) => read.fetch_add(1, Ordering::Relaxed),
                    EventItem::Gap { missed: more } => missed.fetch_add(more, Ordering::Relaxed),
                };
            }
        });
    }
    // A tenth to come to rest.
    measure(&probe, time / 10).await;
    let (events, memory_before, began) = (head(&handle), memory(), Instant::now());
    let (median, p99) = measure(&probe, time).await;
    let events = head(&handle) - events;
    println!("ten subscribe, one never reads: restart in {median:?}, 99 % within {p99:?}");
    println!(
        "{:.0} events a second for {:?}; nine readers read {} and missed {}",
        events as f64 / began.elapsed().as_secs_f64(),
        began.elapsed(),
        read.load(Ordering::Relaxed),
        missed.load(Ordering::Relaxed),
    );
    println!("memory: {memory_before} KiB before, {} KiB after", memory());
    drop(stalled);
    let by = CommandMeta::new("bench", "done").unwrap();
    assert!(handle.shutdown_tree(&by).await.unwrap().clean);
}
