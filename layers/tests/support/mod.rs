//! What the tests of the gate, the context and the restarts share.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use supervisor_layers::{
    BoxError, LifecycleEvent, Owner, RestartDecision, TaskContext, TaskFailure,
    context::{ContextSpec, Recorded, RunEnd, RunId, Steps},
    secs,
};
use tower::Service;

/// Waits for what is to happen at once or in virtual time; nothing can hang.
pub async fn within<F: Future>(what: F) -> F::Output {
    match tokio::time::timeout(secs(3600), what).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain"),
    }
}

/// Lets every other task of the runtime go as far as it can without time passing.
pub async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Counts, and can be awaited.
#[derive(Clone)]
pub struct Counter(Arc<tokio::sync::watch::Sender<u64>>);

impl Counter {
    pub fn new() -> Self {
        Self(Arc::new(tokio::sync::watch::Sender::new(0)))
    }

    pub fn add(&self) -> u64 {
        self.0.send_modify(|n| *n += 1);
        self.get()
    }

    pub fn sub(&self) {
        self.0.send_modify(|n| *n -= 1);
    }

    pub fn get(&self) -> u64 {
        *self.0.borrow()
    }

    pub async fn reaches(&self, n: u64) {
        let mut seen = self.0.subscribe();
        within(seen.wait_for(|&count| count >= n)).await.unwrap();
    }
}

/// Does something when dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A supervisor that writes down what it is told.
#[derive(Default)]
pub struct Recorder {
    origin: OnceLock<tokio::time::Instant>,
    steps: Mutex<Vec<(u64, LifecycleEvent)>>,
    decisions: Mutex<Vec<RestartDecision>>,
    correlations: Mutex<Vec<u64>>,
    /// When those were asked to that ended as their child's last.
    last: Mutex<Vec<std::time::Duration>>,
    pub admitted: AtomicU32,
    pub refuses: AtomicBool,
    pub closing: AtomicBool,
    pub jitter_seed: Option<u64>,
}

impl Recorder {
    pub fn steps(&self) -> MutexGuard<'_, Vec<(u64, LifecycleEvent)>> {
        self.steps.lock().unwrap()
    }

    pub fn decisions(&self) -> Vec<RestartDecision> {
        self.decisions.lock().unwrap().clone()
    }

    pub fn correlations(&self) -> Vec<u64> {
        self.correlations.lock().unwrap().clone()
    }

    pub fn last(&self) -> Vec<std::time::Duration> {
        self.last.lock().unwrap().clone()
    }

    /// The steps by name, each with its run's generation.
    pub fn names(&self) -> Vec<String> {
        let name = |step: &LifecycleEvent| match step {
            LifecycleEvent::Starting => "starting",
            LifecycleEvent::Ready => "ready",
            LifecycleEvent::Exited { .. } => "exited",
            LifecycleEvent::RestartDecided { .. } => "decided",
            LifecycleEvent::BackingOff { .. } => "backing off",
            LifecycleEvent::FuseCharged { .. } => "fuse charged",
            LifecycleEvent::FuseBlown { .. } => "fuse blown",
            LifecycleEvent::Quarantined { .. } => "quarantined",
            LifecycleEvent::Released { .. } => "released",
            LifecycleEvent::Paused => "paused",
            LifecycleEvent::Resumed => "resumed",
            LifecycleEvent::Unhealthy { .. } => "unhealthy",
            LifecycleEvent::Stuck { .. } => "stuck",
            _ => "unknown",
        };
        let steps = self.steps();
        let named = |(generation, step)| format!("{generation} {}", name(step));
        steps.iter().map(|(g, s)| named((*g, s))).collect()
    }
}

impl Owner for Recorder {
    fn origin(&self) -> tokio::time::Instant {
        *self.origin.get_or_init(tokio::time::Instant::now)
    }

    fn record(
        &self,
        run: RunId<'_>,
        _: supervisor_layers::policy::Nanos,
        steps: Steps<'_>,
        correlation: u64,
    ) -> Recorded {
        let mut all = self.steps();
        for step in steps.events() {
            all.push((run.generation, step));
            self.correlations.lock().unwrap().push(correlation);
        }
        Recorded {
            sequence: all.len() as u64,
            correlation,
        }
    }

    fn record_last(
        &self,
        run: RunId<'_>,
        at: supervisor_layers::policy::Nanos,
        end: &RunEnd,
        asked: supervisor_layers::policy::Nanos,
        correlation: u64,
    ) -> Option<Recorded> {
        self.last.lock().unwrap().push(asked.into());
        Some(self.record(run, at, end.into(), correlation))
    }

    fn admit_restart(&self, _: supervisor_layers::policy::Nanos) -> bool {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        !self.refuses.load(Ordering::Relaxed)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn decided(&self, _: RunId<'_>, decision: &RestartDecision, _: u64) {
        self.decisions.lock().unwrap().push(*decision);
    }

    fn jitter_seed(&self) -> Option<u64> {
        self.jitter_seed
    }
}

/// A child's context under a recording supervisor, before its first run.
pub fn supervised(spec: ContextSpec) -> (Arc<Recorder>, TaskContext) {
    let owner = Arc::new(Recorder::default());
    let ctx = TaskContext::supervised("/tree/child".into(), owner.clone(), spec);
    (owner, ctx)
}

/// The life of a child, its result as everybody sees it.
pub fn live<S>(child: S, ctx: &TaskContext) -> tokio::task::JoinHandle<Result<(), TaskFailure>>
where
    S: supervisor_layers::TaskFactory,
{
    let life = supervisor_layers::TaskFactoryExt::run(child, ctx.clone());
    tokio::spawn(async move { life.await.map_err(|error| TaskFailure::of(error.into())) })
}

/// A service of a user's own: readiness and call as the test says.
#[derive(Clone)]
pub struct Own<P, C> {
    pub ready: P,
    pub call: C,
}

impl<P, C, Fut> Service<TaskContext> for Own<P, C>
where
    P: FnMut() -> Poll<Result<(), BoxError>>,
    C: FnMut(TaskContext) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    type Response = ();
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        (self.ready)()
    }

    fn call(&mut self, ctx: TaskContext) -> Fut {
        (self.call)(ctx)
    }
}
