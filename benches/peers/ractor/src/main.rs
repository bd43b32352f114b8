//! ractor 0.16 with ractor-supervisor 0.2: actors with names and mailboxes, restarts, groups, a status each; no journal.
//! A supervisor has either a fixed set of children, or ones that come and go, whose restarts wait 10 ms each: what is
//! measured has the fixed set, but where children are added and removed.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use harness::{
    ADDITIONS, Done, FailedAt, RESTARTS, Taken, failures, leave_out, memory, operations, warm_up,
};
use ractor::{
    Actor, ActorProcessingErr, ActorRef, ActorStatus, async_trait, call, registry::where_is,
};
use ractor_supervisor::{
    ChildSpec, DynamicSupervisor, DynamicSupervisorOptions, Restart, SpawnFn, Supervisor,
    SupervisorArguments, SupervisorMsg, SupervisorOptions, SupervisorStrategy,
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
        "state_of_one" => state_of_one,
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

    fn running(&self) -> usize {
        self.begun.count() - self.ended.count()
    }
}

/// Goes with the actor, also with one that was killed.
struct Ends(Arc<Done>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.one();
    }
}

#[async_trait]
impl Actor for Idle {
    type Msg = ();
    type State = Ends;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<Ends, ActorProcessingErr> {
        self.begun.one();
        Ok(Ends(self.ended.clone()))
    }
}

fn child<A: Actor<Arguments = ()> + Clone>(id: String, actor: A) -> ChildSpec {
    ChildSpec {
        id,
        restart: Restart::Transient,
        spawn_fn: SpawnFn::new(move |supervisor, id| {
            let actor = actor.clone();
            async move {
                let (child, _) = Supervisor::spawn_linked(id, actor, (), supervisor).await?;
                Ok(child.get_cell())
            }
        }),
        backoff_fn: None,
        reset_after: None,
    }
}

fn children(n: usize, idle: &Idle) -> Vec<ChildSpec> {
    (0..n)
        .map(|n| child(format!("c{n}"), idle.clone()))
        .collect()
}

async fn supervise(
    strategy: SupervisorStrategy,
    child_specs: Vec<ChildSpec>,
) -> ActorRef<SupervisorMsg> {
    // Restarts without end; a window would only make it keep them all.
    let options = SupervisorOptions {
        strategy,
        max_restarts: usize::MAX,
        max_window: Duration::ZERO,
        reset_after: None,
    };
    let arguments = SupervisorArguments {
        child_specs,
        options,
    };
    let spawned = Supervisor::spawn("bench".to_owned(), arguments).await;
    spawned.unwrap().0
}

async fn idles(n: usize, idle: &Idle) -> ActorRef<SupervisorMsg> {
    let supervisor = supervise(SupervisorStrategy::OneForOne, children(n, idle)).await;
    idle.begun.reach(n).await;
    supervisor
}

/// Waits until the supervisor has seen all its children start.
async fn settled(supervisor: &ActorRef<SupervisorMsg>) {
    call!(supervisor, SupervisorMsg::InspectState).unwrap();
}

async fn start(n: usize) -> Taken {
    let idle = Idle::new();
    let began = Instant::now();
    let supervisor = idles(n, &idle).await;
    let took = began.elapsed();
    settled(&supervisor).await;
    assert_eq!((supervisor.get_children().len(), idle.running()), (n, n));
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let idle = Idle::new();
    let before = memory();
    let supervisor = idles(n, &idle).await;
    let after = memory();
    settled(&supervisor).await;
    assert_eq!((supervisor.get_children().len(), idle.running()), (n, n));
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let idle = Idle::new();
    let supervisor = idles(n, &idle).await;
    settled(&supervisor).await;
    warm_up().await;
    let began = Instant::now();
    supervisor.stop_children_and_wait(None, None).await;
    supervisor.stop_and_wait(None, None).await.unwrap();
    let took = began.elapsed();
    assert_eq!((idle.begun.count(), idle.ended.count()), (n, n));
    Taken::each(took, n)
}

#[derive(Clone)]
struct Crashes {
    runs: Arc<Done>,
    over: Arc<Notify>,
}

#[async_trait]
impl Actor for Crashes {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_start(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if self.runs.one() >= RESTARTS {
            self.over.notify_one();
            return Ok(());
        }
        Err("as it does".into())
    }
}

async fn crash_loops(children: usize) -> Taken {
    let (runs, over) = (Done::new(), Arc::new(Notify::new()));
    let children = (0..children).map(|n| {
        let (runs, over) = (runs.clone(), over.clone());
        child(format!("c{n}"), Crashes { runs, over })
    });
    let children = children.collect();
    let began = Instant::now();
    let _supervisor = supervise(SupervisorStrategy::OneForOne, children).await;
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

struct Fail;

#[async_trait]
impl Actor for Probe {
    type Msg = Fail;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Fail>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_start(&self, _: ActorRef<Fail>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        *self.took.lock().unwrap() = self.failed_at.elapsed();
        self.begun.notify_one();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Fail>,
        Fail: Fail,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.failed_at.now();
        Err("as ordered".into())
    }
}

fn fail(name: &str) {
    let failing = where_is(name).expect("it runs");
    failing.send_message(Fail).unwrap();
}

async fn latency(n: usize) -> Taken {
    let (probe, idle) = (Probe::default(), Idle::new());
    let mut children = children(n, &idle);
    children.push(child("probe".to_owned(), probe.clone()));
    let supervisor = supervise(SupervisorStrategy::OneForOne, children).await;
    idle.begun.reach(n).await;
    probe.begun.notified().await;
    settled(&supervisor).await;
    failures(|| async {
        fail("probe");
        probe.begun.notified().await;
        probe.took.lock().unwrap().take().expect("it failed")
    })
    .await
}

async fn one_for_all(n: usize) -> Taken {
    let (first, idle) = (Probe::default(), Idle::new());
    let mut children = children(n, &idle);
    children.insert(0, child("first".to_owned(), first.clone()));
    let supervisor = supervise(SupervisorStrategy::OneForAll, children).await;
    idle.begun.reach(n).await;
    first.begun.notified().await;
    settled(&supervisor).await;
    let began = Instant::now();
    fail("first");
    idle.begun.reach(2 * n).await;
    let took = began.elapsed();
    let rest = tokio::time::timeout(Duration::from_secs(10), settled(&supervisor));
    if rest.await.is_err() || (idle.begun.count(), idle.ended.count()) != (2 * n, n) {
        // It gives the killed 10 ms to leave their names; each name that is still taken restarts all again.
        leave_out("the group never comes to rest");
    }
    assert_eq!(supervisor.get_children().len(), n + 1);
    Taken::each(took, n)
}

async fn add_remove(n: usize) -> Taken {
    let options = DynamicSupervisorOptions {
        max_children: None,
        max_restarts: usize::MAX,
        max_window: Duration::ZERO,
        reset_after: None,
    };
    let spawned = DynamicSupervisor::spawn("bench".to_owned(), options).await;
    let (supervisor, idle) = (spawned.unwrap().0, Idle::new());
    for child in children(n, &idle) {
        let added = DynamicSupervisor::spawn_child(supervisor.clone(), child);
        added.await.unwrap();
    }
    let more = Idle::new();
    let began = Instant::now();
    for time in 0..ADDITIONS {
        // A name stays taken until the actor that was killed has gone.
        let name = format!("more{time}");
        let child = child(name.clone(), more.clone());
        let added = DynamicSupervisor::spawn_child(supervisor.clone(), child);
        added.await.unwrap();
        let removed = DynamicSupervisor::terminate_child(supervisor.clone(), name);
        removed.await.unwrap();
    }
    more.ended.reach(ADDITIONS).await;
    let took = began.elapsed();
    assert_eq!((more.begun.count(), idle.running()), (ADDITIONS, n));
    Taken::each(took, ADDITIONS)
}

async fn state(n: usize) -> Taken {
    const TIMES: usize = 20;
    let supervisor = idles(n, &Idle::new()).await;
    settled(&supervisor).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        let children = supervisor.get_children();
        let states: Vec<_> = children
            .iter()
            .map(|child| (child.get_name(), child.get_status()))
            .collect();
        assert_eq!(black_box(states).len(), n);
    }
    Taken::each(began.elapsed() / TIMES as u32, n)
}

async fn state_of_one(n: usize) -> Taken {
    const TIMES: usize = 100_000;
    let supervisor = idles(n, &Idle::new()).await;
    settled(&supervisor).await;
    let name = format!("c{}", n / 2);
    let began = Instant::now();
    for _ in 0..TIMES {
        let child = where_is(name.clone()).expect("it runs");
        assert_eq!(black_box(child.get_status()), ActorStatus::Running);
    }
    Taken::each(began.elapsed(), TIMES)
}
