//! Polls that block their thread, seen from outside while they do. All of it in real time: a virtual clock
//! stands still during a poll.

mod recorded;
mod support;

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use recorded::Recorder as Metrics;
use supervisor_layers::{
    LifecycleEvent, ObserveLayer, RestartType, ServiceBuilderExt, TaskContext, TaskFactory,
    context::ContextSpec, ms, secs, service_fn,
};
use support::{Recorder, live, supervised, within};
use tower::ServiceBuilder;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A subscriber that keeps the warnings of all threads.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Words<'a>(&'a mut String);
        impl Visit for Words<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut line = String::new();
        event.record(&mut Words(&mut line));
        self.0.lock().unwrap().push(line);
    }
}

/// What the whole process logs and counts: the thread that looks is nobody's own.
fn global() -> &'static (Warnings, Metrics) {
    static GLOBAL: OnceLock<(Warnings, Metrics)> = OnceLock::new();
    GLOBAL.get_or_init(|| {
        let (log, metrics) = (Warnings::default(), Metrics::default());
        tracing::subscriber::set_global_default(log.clone()).unwrap();
        metrics::set_global_recorder(metrics.clone()).unwrap();
        (log, metrics)
    })
}

/// A child whose poll blocks its thread until the sender is dropped, once per run, and then ends.
fn blocks(layer: ObserveLayer) -> (Sender<()>, impl TaskFactory) {
    let (release, blocked): (_, Receiver<()>) = mpsc::channel();
    let blocked = Arc::new(Mutex::new(blocked));
    let child = ServiceBuilder::new()
        .restart(RestartType::Temporary)
        .layer(layer)
        .service(service_fn(move |_| {
            let blocked = blocked.clone();
            async move {
                let _ = blocked.lock().unwrap().recv();
            }
        }));
    (release, child)
}

/// Waits, in real time and not for ever, until `condition` holds.
async fn until(mut condition: impl FnMut() -> bool) {
    tokio::time::timeout(secs(60), async {
        while !condition() {
            tokio::time::sleep(ms(1)).await;
        }
    })
    .await
    .expect("within a minute");
}

fn stuck(owner: &Recorder) -> Vec<(u64, Duration)> {
    let steps = owner.steps();
    steps
        .iter()
        .filter_map(|(generation, step)| match step {
            LifecycleEvent::Stuck { lasts } => Some((*generation, *lasts)),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_blocks_its_thread_is_reported_once_while_it_lasts() {
    let (log, metrics) = global();
    let owner = Arc::new(Recorder::default());
    let spec = ContextSpec::default();
    let ctx = TaskContext::supervised("/tree/blocks".into(), owner.clone(), spec);
    let (release, child) = blocks(ObserveLayer::new().stuck_after(ms(20)));
    let life = live(child, &ctx);
    until(|| !stuck(&owner).is_empty()).await;
    let (generation, lasts) = stuck(&owner)[0];
    assert_eq!(generation, 1);
    assert!(lasts >= ms(20));
    let counted = "supervisor_child_stuck_polls_total{child=/tree/blocks}";
    until(|| metrics.total(counted) > 0.0).await;
    assert!(ctx.snapshot().stuck.is_some_and(|now| now >= lasts));
    let since = ctx.snapshot().since;
    // Long enough to be reported again.
    until(|| ctx.snapshot().stuck.is_some_and(|now| now >= 4 * lasts)).await;
    assert_eq!(stuck(&owner).len(), 1);
    assert_eq!(metrics.total(counted), 1.0);
    assert_eq!(ctx.snapshot().since, since, "its status is what it was");
    let lines = log.0.lock().unwrap().clone();
    let told = |line: &&String| line.starts_with("message=stuck in a poll path=\"/tree/blocks\"");
    assert_eq!(lines.iter().filter(told).count(), 1, "{lines:#?}");
    drop(release);
    within(life).await.unwrap().unwrap();
    assert_eq!(ctx.snapshot().stuck, None);
    assert_eq!(
        owner.names(),
        ["1 starting", "1 stuck", "1 exited", "1 decided"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_run_and_each_child_is_looked_at_and_by_one_thread() {
    let mut children = Vec::new();
    for _ in 0..2 {
        let (owner, ctx) = supervised(ContextSpec::default());
        let (release, blocked): (_, Receiver<()>) = mpsc::channel();
        let blocked = Arc::new(Mutex::new(blocked));
        let child = ServiceBuilder::new()
            .restart(RestartType::Transient)
            .layer(ObserveLayer::new().stuck_after(ms(20)))
            .service(service_fn(move |_| {
                let blocked = blocked.clone();
                async move {
                    match blocked.lock().unwrap().recv() {
                        Ok(()) => Err("again"),
                        Err(_) => Ok(()),
                    }
                }
            }));
        let life = live(child, &ctx);
        children.push((owner, ctx, release, life));
    }
    for generation in 1..=2 {
        for (owner, _, release, _) in &children {
            until(|| stuck(owner).iter().any(|(g, _)| *g == generation)).await;
            release.send(()).unwrap();
        }
    }
    #[cfg(target_os = "linux")]
    assert_eq!(threads("stuck-polls"), 1);
    for (_, _, release, life) in children {
        drop(release);
        within(life).await.unwrap().unwrap();
    }
}

#[cfg(target_os = "linux")]
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim() == name)
        .count()
}

/// Lets the monitor look at everybody: a child that is stuck for sure after this time has been found.
async fn looked_around(after: Duration) {
    let (owner, ctx) = supervised(ContextSpec::default());
    let (release, child) = blocks(ObserveLayer::new().stuck_after(after));
    let life = live(child, &ctx);
    until(|| !stuck(&owner).is_empty()).await;
    drop(release);
    within(life).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_poll_shorter_than_its_threshold_and_one_nobody_asked_about_are_not_reported() {
    for layer in [
        ObserveLayer::new().stuck_after(secs(600)),
        ObserveLayer::new().stuck_after(None),
    ] {
        let (owner, ctx) = supervised(ContextSpec::default());
        let (release, child) = blocks(layer);
        let life = live(child, &ctx);
        looked_around(ms(4)).await;
        assert_eq!(ctx.snapshot().stuck, None);
        drop(release);
        within(life).await.unwrap().unwrap();
        assert_eq!(stuck(&owner), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_run_that_waits_between_its_polls_is_not_stuck() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let child = ServiceBuilder::new()
        .restart(RestartType::Temporary)
        .layer(ObserveLayer::new().stuck_after(ms(300)))
        .service(service_fn(|ctx: TaskContext| async move {
            ctx.cancelled().await;
        }));
    let life = live(child, &ctx);
    within(ctx.gate().ready()).await.unwrap();
    looked_around(ms(300)).await;
    assert_eq!(ctx.snapshot().stuck, None);
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    assert_eq!(stuck(&owner), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_layers_of_a_stack_report_a_poll_once() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let (release, blocked): (_, Receiver<()>) = mpsc::channel();
    let blocked = Arc::new(Mutex::new(blocked));
    let child = ServiceBuilder::new()
        .restart(RestartType::Temporary)
        .layer(ObserveLayer::new().stuck_after(ms(20)))
        .layer(ObserveLayer::new().stuck_after(ms(10)))
        .service(service_fn(move |_| {
            let blocked = blocked.clone();
            async move {
                let _ = blocked.lock().unwrap().recv();
            }
        }));
    let life = live(child, &ctx);
    until(|| ctx.snapshot().stuck.is_some_and(|lasts| lasts > ms(60))).await;
    drop(release);
    within(life).await.unwrap().unwrap();
    let stuck = stuck(&owner);
    assert_eq!(stuck.len(), 1);
    assert!(stuck[0].1 >= ms(20), "as the outer one says");
}
