//! kameo 0.22: actors with mailboxes, restarts, groups; nothing that lists children or their states (a reference says no
//! more than whether its actor is alive), no journal. A child that was stopped stays in its supervisor's books.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{ADDITIONS, Done, FailedAt, RESTARTS, Taken, failures, memory, operations, warm_up};
use kameo::{
    actor::{Actor, ActorRef, Spawn, WeakActorRef},
    error::ActorStopReason,
    message::{Context, Message},
    supervision::{RestartPolicy, SupervisionStrategy},
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
    });
}

/// Restarts the failed one, or all when so said.
struct Supervisor<const ALL: bool>;

impl<const ALL: bool> Actor for Supervisor<ALL> {
    type Args = Self;
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        match ALL {
            true => SupervisionStrategy::OneForAll,
            false => SupervisionStrategy::OneForOne,
        }
    }

    async fn on_start(supervisor: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(supervisor)
    }
}

type OneForOne = Supervisor<false>;

/// Under its supervisor, which restarts it at once and for ever.
async fn supervised<const ALL: bool, A: Actor<Args: Clone + Sync>>(
    supervisor: &ActorRef<Supervisor<ALL>>,
    arguments: A::Args,
) -> ActorRef<A> {
    let child = A::supervise(supervisor, arguments)
        .restart_policy(RestartPolicy::Transient)
        .restart_limit(u32::MAX, Duration::from_secs(1));
    child.spawn().await
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

    fn running(&self) -> usize {
        self.begun.count() - self.ended.count()
    }

    async fn supervised<const ALL: bool>(
        &self,
        n: usize,
        supervisor: &ActorRef<Supervisor<ALL>>,
    ) -> Vec<ActorRef<Self>> {
        let mut children = Vec::with_capacity(n);
        for _ in 0..n {
            children.push(supervised(supervisor, self.clone()).await);
        }
        self.begun.reach(n).await;
        children
    }
}

impl Actor for Idle {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(idle: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        idle.begun.one();
        Ok(idle)
    }

    async fn on_stop(
        &mut self,
        _: WeakActorRef<Self>,
        _: ActorStopReason,
    ) -> Result<(), Infallible> {
        self.ended.one();
        Ok(())
    }
}

async fn start(n: usize) -> Taken {
    let idle = Idle::new();
    let began = Instant::now();
    let supervisor = OneForOne::spawn(Supervisor);
    let children = idle.supervised(n, &supervisor).await;
    let took = began.elapsed();
    assert_eq!((children.len(), idle.running()), (n, n));
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let idle = Idle::new();
    let before = memory();
    let supervisor = OneForOne::spawn(Supervisor);
    let children = idle.supervised(n, &supervisor).await;
    let after = memory();
    assert_eq!((children.len(), idle.running()), (n, n));
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let idle = Idle::new();
    let supervisor = OneForOne::spawn(Supervisor);
    let _children = idle.supervised(n, &supervisor).await;
    warm_up().await;
    let began = Instant::now();
    supervisor.stop_gracefully().await.unwrap();
    supervisor.wait_for_shutdown().await;
    idle.ended.reach(n).await;
    let took = began.elapsed();
    assert_eq!(idle.begun.count(), n);
    Taken::each(took, n)
}

#[derive(Clone)]
struct Crashes {
    runs: Arc<Done>,
    over: Arc<Notify>,
}

impl Actor for Crashes {
    type Args = Self;
    type Error = &'static str;

    async fn on_start(crashes: Self, _: ActorRef<Self>) -> Result<Self, &'static str> {
        if crashes.runs.one() >= RESTARTS {
            crashes.over.notify_one();
            return Ok(crashes);
        }
        Err("as it does")
    }
}

async fn crash_loops(children: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let mut crashing = Vec::with_capacity(children);
    let began = Instant::now();
    let supervisor = OneForOne::spawn(Supervisor);
    for _ in 0..children {
        let (runs, over) = (runs.clone(), over.clone());
        crashing.push(supervised::<_, Crashes>(&supervisor, Crashes { runs, over }).await);
    }
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

#[derive(Clone, Default)]
struct Probe {
    begun: Arc<Notify>,
    failed_at: Arc<FailedAt>,
    took: Arc<Mutex<Option<Duration>>>,
}

impl Actor for Probe {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(probe: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        *probe.took.lock().unwrap() = probe.failed_at.elapsed();
        probe.begun.notify_one();
        Ok(probe)
    }
}

struct Fail;

impl Message<Fail> for Probe {
    type Reply = Result<(), &'static str>;

    async fn handle(&mut self, _: Fail, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.failed_at.now();
        Err("as ordered")
    }
}

async fn latency(n: usize) -> Taken {
    let (probe, idle) = (Probe::default(), Idle::new());
    let supervisor = OneForOne::spawn(Supervisor);
    let _children = idle.supervised(n, &supervisor).await;
    let failing = supervised::<_, Probe>(&supervisor, probe.clone()).await;
    probe.begun.notified().await;
    failures(|| async {
        failing.tell(Fail).await.unwrap();
        probe.begun.notified().await;
        probe.took.lock().unwrap().take().expect("it failed")
    })
    .await
}

async fn one_for_all(n: usize) -> Taken {
    let (first, idle) = (Probe::default(), Idle::new());
    let supervisor = Supervisor::<true>::spawn(Supervisor);
    let failing = supervised::<_, Probe>(&supervisor, first.clone()).await;
    let _children = idle.supervised(n, &supervisor).await;
    first.begun.notified().await;
    let began = Instant::now();
    failing.tell(Fail).await.unwrap();
    idle.begun.reach(2 * n).await;
    let took = began.elapsed();
    assert_eq!((idle.begun.count(), idle.ended.count()), (2 * n, n));
    Taken::each(took, n)
}

async fn add_remove(n: usize) -> Taken {
    let (idle, more) = (Idle::new(), Idle::new());
    let supervisor = OneForOne::spawn(Supervisor);
    let _children = idle.supervised(n, &supervisor).await;
    let began = Instant::now();
    for _ in 0..ADDITIONS {
        let child = supervised::<_, Idle>(&supervisor, more.clone()).await;
        child.stop_gracefully().await.unwrap();
        child.wait_for_shutdown().await;
    }
    let took = began.elapsed();
    // The last may be told to be down before it has been dropped.
    more.ended.reach(ADDITIONS).await;
    assert_eq!((more.ended.count(), idle.running()), (ADDITIONS, n));
    Taken::each(took, ADDITIONS)
}
