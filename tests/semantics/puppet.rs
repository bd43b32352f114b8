use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use rust_supervisor::{ChildSpec, ReadinessPolicy, TaskContext, TaskFailure, TaskResult};
use tokio::sync::Notify;

use crate::support::until;

/// What runs in the child that is looked at: says when it is ready, ends when told how, and takes its time to
/// stop. Watches that two runs of one child never overlap.
#[derive(Clone, Default)]
pub struct Puppet {
    strings: Arc<Strings>,
}

#[derive(Default)]
struct Strings {
    order: Mutex<Option<Order>>,
    ordered: Notify,
    start_ms: AtomicU64,
    stop_ms: AtomicU64,
    alive: Mutex<HashSet<String>>,
    overlapped: AtomicBool,
    blocked: AtomicBool,
    release: Mutex<Option<mpsc::Sender<()>>>,
}

/// How a run is to end.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Complete,
    Fail,
    Panic,
    TimeOut,
    Fatal,
    /// Blocks its thread until released.
    Block,
    /// Fails, and leaves a function behind that goes on until released.
    LeaveHelper,
}

impl Puppet {
    /// A permanent worker; each of its runs says when it is ready.
    pub fn child(&self, id: &str) -> ChildSpec {
        let puppet = self.clone();
        ChildSpec::worker(id, move |ctx| puppet.clone().run(ctx))
            .readiness(ReadinessPolicy::Explicit)
            .backoff(None)
            .grace(Duration::from_secs(20))
    }

    /// How long runs from now on take to become ready.
    pub fn starts_in(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.strings.start_ms.store(ms, Ordering::Relaxed);
    }

    /// How long runs take to end when they are asked to.
    pub fn stops_in(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.strings.stop_ms.store(ms, Ordering::Relaxed);
    }

    pub fn order(&self, order: Order) {
        *self.strings.order.lock().unwrap() = Some(order);
        self.strings.ordered.notify_waiters();
    }

    /// Whether something of it blocks a thread.
    pub fn is_blocked(&self) -> bool {
        self.strings.blocked.load(Ordering::Relaxed)
    }

    pub fn release(&self) {
        self.strings.release.lock().unwrap().take();
    }

    pub fn overlapped(&self) -> bool {
        self.strings.overlapped.load(Ordering::Relaxed)
    }

    pub async fn run(self, ctx: TaskContext) -> TaskResult {
        let _alive = Alive::of(&self, &ctx);
        let strings = &*self.strings;
        let ms = |time: &AtomicU64| Duration::from_millis(time.load(Ordering::Relaxed));
        let starting = tokio::time::sleep(ms(&strings.start_ms));
        if ctx.run_until_cancelled(starting).await.is_some() {
            ctx.mark_ready();
            match ctx.run_until_cancelled(self.next_order()).await {
                None => {}
                Some(Order::Complete) => return Ok(()),
                Some(Order::Fail) => return Err("as ordered".into()),
                Some(Order::Panic) => panic!("as ordered"),
                Some(Order::TimeOut) => return Err(tower::timeout::error::Elapsed::new().into()),
                Some(Order::Fatal) => return Err(TaskFailure::fatal("no use").into()),
                Some(Order::Block) => {
                    self.block()();
                    return Ok(());
                }
                Some(Order::LeaveHelper) => {
                    ctx.spawn_blocking(self.block());
                    // One that has not begun would not go on.
                    until(|| self.is_blocked()).await;
                    return Err("as ordered".into());
                }
            }
        }
        tokio::time::sleep(ms(&strings.stop_ms)).await;
        Ok(())
    }

    async fn next_order(&self) -> Order {
        loop {
            let ordered = self.strings.ordered.notified();
            if let Some(order) = self.strings.order.lock().unwrap().take() {
                return order;
            }
            ordered.await;
        }
    }

    fn block(&self) -> impl FnOnce() + use<> {
        let (release, released) = mpsc::channel::<()>();
        *self.strings.release.lock().unwrap() = Some(release);
        let strings = self.strings.clone();
        move || {
            strings.blocked.store(true, Ordering::Relaxed);
            let _ = released.recv();
        }
    }
}

/// A run of a child.
struct Alive {
    puppet: Puppet,
    path: String,
}

impl Alive {
    fn of(puppet: &Puppet, ctx: &TaskContext) -> Self {
        let path = ctx.path().to_owned();
        if !puppet.strings.alive.lock().unwrap().insert(path.clone()) {
            puppet.strings.overlapped.store(true, Ordering::Relaxed);
        }
        let puppet = puppet.clone();
        Self { puppet, path }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.puppet.strings.alive.lock().unwrap().remove(&self.path);
    }
}
