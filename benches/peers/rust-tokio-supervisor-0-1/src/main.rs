//! rust-tokio-supervisor 0.1: names, limits, backoff, groups, a state, metrics and audit (both off here), a journal.
//! It pauses at the third failure within ten seconds, whatever its limits; so what is restarted here is a service that
//! returned, which it restarts at once and for ever.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{Done, FailedAt, RESTARTS, Taken, failures, leave_out, memory, operations, warm_up};
use rust_supervisor::{
    control::{
        command::{CommandResult, CurrentState},
        handle::SupervisorHandle,
    },
    id::types::{ChildId, SupervisorPath},
    runtime::supervisor::Supervisor,
    spec::{
        child::{ChildSpec, RestartPolicy, TaskKind},
        child_builder::ChildSpecBuilder,
        shutdown::{ShutdownBudget, TreeShutdownPolicy},
        supervisor::{SupervisionStrategy, SupervisorSpec},
    },
    task::{
        context::TaskContext,
        factory::{TaskFactory, TaskResult, service_fn},
        factory_registry::{TaskFactoryDescriptor, TaskFactoryRegistry},
    },
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
        "one_for_all" => one_for_all,
        "add_remove" => add_remove,
        "state" => state,
    });
}

#[derive(Clone)]
struct Idle {
    begun: Arc<Done>,
    ended: Arc<Done>,
}

impl Idle {
    fn new() -> Self {
        let (begun, ended) = (Done::new(), Done::new());
        Self { begun, ended }
    }

    fn factory(&self) -> Arc<dyn TaskFactory> {
        let Self { begun, ended } = self.clone();
        Arc::new(service_fn(move |context: TaskContext| {
            let (begun, ended) = (begun.clone(), ended.clone());
            async move {
                begun.one();
                context.cancellation_token().cancelled().await;
                ended.one();
                TaskResult::Cancelled
            }
        }))
    }
}

fn child(name: String, factory: Arc<dyn TaskFactory>) -> ChildSpec {
    let id = ChildId::new(name.clone());
    let child = ChildSpecBuilder::service(id, name, TaskKind::AsyncWorker, factory);
    child
        .restart_policy(RestartPolicy::Permanent)
        .build()
        .unwrap()
}

fn children(n: usize, idle: &Idle) -> Vec<ChildSpec> {
    (0..n)
        .map(|n| child(format!("c{n}"), idle.factory()))
        .collect()
}

async fn supervise(strategy: SupervisionStrategy, children: Vec<ChildSpec>) -> SupervisorHandle {
    Supervisor::start(spec(strategy, children)).await.unwrap()
}

fn spec(strategy: SupervisionStrategy, children: Vec<ChildSpec>) -> SupervisorSpec {
    let mut spec = SupervisorSpec::root(children);
    spec.strategy = strategy;
    spec.concurrent_restart_limit = u32::MAX;
    spec.metrics_enabled = false;
    spec.audit_enabled = false;
    let budget = ShutdownBudget::new(Duration::from_secs(300), Duration::from_secs(1));
    spec.tree_shutdown = TreeShutdownPolicy::with_budget(budget);
    spec.propagate_tree_shutdown_budget();
    spec
}

async fn idles(n: usize, idle: &Idle) -> SupervisorHandle {
    let handle = supervise(SupervisionStrategy::OneForOne, children(n, idle)).await;
    idle.begun.reach(n).await;
    handle
}

async fn current(handle: &SupervisorHandle) -> CurrentState {
    match handle.current_state().await.unwrap() {
        CommandResult::CurrentState { state } => state,
        other => panic!("{other:?}"),
    }
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let handle = idles(n, &Idle::new()).await;
    let took = began.elapsed();
    assert_eq!(current(&handle).await.child_count, n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let handle = idles(n, &Idle::new()).await;
    let after = memory();
    assert_eq!(current(&handle).await.child_count, n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let idle = Idle::new();
    let handle = idles(n, &idle).await;
    warm_up().await;
    let began = Instant::now();
    handle.shutdown_tree("bench", "measuring").await.unwrap();
    let took = began.elapsed();
    assert_eq!(idle.ended.count(), n);
    Taken::each(took, n)
}

/// Returns as soon as it runs, until it has run so often.
fn returns(name: String, runs: &Arc<Done>, over: &Arc<Notify>) -> ChildSpec {
    let (runs, over) = (runs.clone(), over.clone());
    let factory = service_fn(move |context: TaskContext| {
        let (runs, over) = (runs.clone(), over.clone());
        async move {
            if runs.one() >= RESTARTS {
                over.notify_one();
                context.cancellation_token().cancelled().await;
            }
            TaskResult::Succeeded
        }
    });
    child(name, Arc::new(factory))
}

async fn loops(children: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let children = (0..children).map(|n| returns(format!("c{n}"), &runs, &over));
    let children = children.collect();
    let began = Instant::now();
    let _handle = supervise(SupervisionStrategy::OneForOne, children).await;
    over.notified().await;
    assert!(runs.count() >= RESTARTS);
    Taken::each(began.elapsed(), RESTARTS)
}

async fn restart(_: usize) -> Taken {
    loops(1).await
}

async fn restart_1000(_: usize) -> Taken {
    loops(1000).await
}

#[derive(Clone, Default)]
struct Probe {
    leave: Arc<Notify>,
    begun: Arc<Notify>,
    left_at: Arc<FailedAt>,
    took: Arc<Mutex<Option<Duration>>>,
}

impl Probe {
    fn factory(&self) -> Arc<dyn TaskFactory> {
        let probe = self.clone();
        Arc::new(service_fn(move |context: TaskContext| {
            *probe.took.lock().unwrap() = probe.left_at.elapsed();
            probe.begun.notify_one();
            let (leave, left_at) = (probe.leave.clone(), probe.left_at.clone());
            async move {
                let stop = context.cancellation_token();
                match stop.run_until_cancelled(leave.notified()).await {
                    Some(()) => left_at.now(),
                    None => return TaskResult::Cancelled,
                }
                TaskResult::Succeeded
            }
        }))
    }
}

async fn latency(n: usize) -> Taken {
    let (probe, idle) = (Probe::default(), Idle::new());
    let mut children = children(n, &idle);
    children.push(child("probe".to_owned(), probe.factory()));
    let _handle = supervise(SupervisionStrategy::OneForOne, children).await;
    idle.begun.reach(n).await;
    probe.begun.notified().await;
    failures(|| async {
        probe.leave.notify_one();
        probe.begun.notified().await;
        probe.took.lock().unwrap().take().expect("it returned")
    })
    .await
}

async fn one_for_all(n: usize) -> Taken {
    let (first, idle) = (Probe::default(), Idle::new());
    let mut children = children(n, &idle);
    children.insert(0, child("first".to_owned(), first.factory()));
    let _handle = supervise(SupervisionStrategy::OneForAll, children).await;
    idle.begun.reach(n).await;
    first.begun.notified().await;
    let began = Instant::now();
    first.leave.notify_one();
    idle.begun.reach(2 * n).await;
    let took = began.elapsed();
    if (idle.begun.count(), idle.ended.count()) != (2 * n, n) {
        leave_out("it starts them again beside the ones that run");
    }
    Taken::each(took, n)
}

fn registry(idle: &Idle) -> TaskFactoryRegistry {
    let kinds = vec![TaskKind::AsyncWorker];
    let idle = TaskFactoryDescriptor::new("idle", "idle", "waits", kinds, idle.factory());
    let mut registry = TaskFactoryRegistry::new();
    registry.register(idle).unwrap();
    registry
}

async fn add_remove(n: usize) -> Taken {
    const TIMES: usize = 500;
    let (idle, more) = (Idle::new(), Idle::new());
    let spec = spec(SupervisionStrategy::OneForOne, children(n, &idle));
    let started = Supervisor::start_with_factory_registry(spec, registry(&more));
    let handle = started.await.unwrap();
    idle.begun.reach(n).await;
    let began = Instant::now();
    for time in 0..TIMES {
        // A name that was removed stays taken.
        let name = format!("more{time}");
        let manifest = format!("name: {name}\nfactory_key: idle\n");
        let added = handle.add_child(SupervisorPath::root(), manifest, "bench", "measuring");
        added.await.unwrap();
        more.begun.reach(time + 1).await;
        let removed = handle.remove_child(ChildId::new(name), "bench", "measuring");
        removed.await.unwrap();
        more.ended.reach(time + 1).await;
    }
    let took = began.elapsed();
    assert_eq!((more.begun.count(), idle.ended.count()), (TIMES, 0));
    Taken::each(took, TIMES)
}

async fn state(n: usize) -> Taken {
    const TIMES: usize = 20;
    let handle = idles(n, &Idle::new()).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        let state = black_box(current(&handle).await);
        assert_eq!(state.child_runtime_records.len(), n);
    }
    Taken::each(began.elapsed() / TIMES as u32, n)
}
