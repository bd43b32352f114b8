//! tokio-graceful-shutdown 0.20: names, a tree, errors passed up or caught; no restarts, so no groups, and no state but
//! whether a single one has ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{ADDITIONS, Done, Taken, memory, operations, warm_up};
use tokio::sync::oneshot;
use tokio_graceful_shutdown::{NestedSubsystem, SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;

fn main() {
    harness::run(operations! {
        "start" => start,
        "memory" => memory_per_child,
        "shutdown" => shutdown,
        "add_remove" => add_remove,
    });
}

/// What the subsystems did.
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

    fn start(&self, name: &str, parent: &SubsystemHandle) -> NestedSubsystem {
        let Self { begun, ended } = self.clone();
        let run = async move |subsystem: &mut SubsystemHandle| {
            begun.one();
            subsystem.on_shutdown_requested().await;
            ended.one();
            Ok::<_, std::io::Error>(())
        };
        parent.start(SubsystemBuilder::new(name, run))
    }

    fn start_all(&self, n: usize, parent: &SubsystemHandle) {
        for n in 0..n {
            self.start(&format!("c{n}"), parent);
        }
    }

    fn running(&self) -> usize {
        self.begun.count() - self.ended.count()
    }
}

struct Tree {
    idle: Idle,
    stop: CancellationToken,
    top: Toplevel,
}

async fn idles(n: usize) -> Tree {
    let (idle, stop) = (Idle::new(), CancellationToken::new());
    let all = idle.clone();
    let run = async move |parent: &mut SubsystemHandle| all.start_all(n, parent);
    let top = Toplevel::new_with_shutdown_token(run, stop.clone());
    idle.begun.reach(n).await;
    Tree { idle, stop, top }
}

async fn start(n: usize) -> Taken {
    let began = Instant::now();
    let tree = idles(n).await;
    let took = began.elapsed();
    assert_eq!(tree.idle.running(), n);
    Taken::each(took, n)
}

async fn memory_per_child(n: usize) -> Taken {
    let before = memory();
    let tree = idles(n).await;
    let after = memory();
    assert_eq!(tree.idle.running(), n);
    Taken::value("bytes", (after - before) as f64 / n as f64)
}

async fn shutdown(n: usize) -> Taken {
    let Tree { idle, stop, top } = idles(n).await;
    warm_up().await;
    let began = Instant::now();
    stop.cancel();
    let in_time = Duration::from_secs(300);
    top.handle_shutdown_requests(in_time).await.unwrap();
    let took = began.elapsed();
    assert_eq!(idle.ended.count(), n);
    Taken::each(took, n)
}

/// From within: only a subsystem can start another.
async fn add_remove(n: usize) -> Taken {
    let (taken, when_taken) = oneshot::channel();
    let idle = Idle::new();
    let run = async move |parent: &mut SubsystemHandle| {
        idle.start_all(n, parent);
        idle.begun.reach(n).await;
        let began = Instant::now();
        for time in 1..=ADDITIONS {
            let more = idle.start("more", parent);
            idle.begun.reach(n + time).await;
            more.initiate_shutdown();
            more.join().await.unwrap();
        }
        let took = began.elapsed();
        assert_eq!((idle.ended.count(), idle.running()), (ADDITIONS, n));
        taken.send(Taken::each(took, ADDITIONS)).ok().unwrap();
    };
    let _top: Toplevel = Toplevel::new(run);
    when_taken.await.unwrap()
}
