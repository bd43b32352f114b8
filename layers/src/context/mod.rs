//! What a run is given, and what everybody who steers or watches its child shares with it.

mod gate;
mod helpers;
mod memory;
mod owner;
mod request;
mod slot;
mod status;
mod steps;

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::Location,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

pub use gate::{Gate, Grace, LastRun, LifeEnd, NextRun, StartOutcome};
pub use helpers::Helper;
pub use owner::{LifecycleEvent, Owner, Recorded, RunId};
pub use request::StopRequest;
pub(crate) use slot::{Admission, Slot, Wait, Watch};
pub use slot::{Cancelled, after};
pub use status::{
    ChildSettings, ChildSnapshot, ChildStatus, HoldReason, LastExit, PollStatistics,
    ReadinessPolicy,
};
use steps::blown;
pub use steps::{PlainEnd, RunEnd, Steps};

use crate::{StopCause, SupervisedLayer, policy::Nanos};

/// A run's view of itself and of the world that may stop it. Cheap to clone.
///
/// A context stands for one run: once that run has ended, [`is_cancelled`](Self::is_cancelled) is true on
/// every clone left behind, whatever the child does next.
#[derive(Clone)]
pub struct TaskContext {
    gate: Gate,
    generation: u64,
}

/// How a child's context is set up by whoever supervises it.
#[derive(Debug, Clone, Default)]
pub struct ContextSpec {
    /// Unique per addition of a child, so that a message for an old one never hits its successor.
    pub instance: u64,
    /// When a run counts as ready.
    pub readiness: ReadinessPolicy,
    /// Restarts are the supervisor's to carry out, for a group.
    pub grouped: bool,
    /// The last generation given out; the first run has the next one.
    pub generation: u64,
    /// What its supervisor has it run under, if it does not bring layers of its own.
    pub layer: Option<SupervisedLayer>,
    /// It brings them: those of its supervisor say nothing of it.
    pub own_layers: bool,
    /// Nothing stands below it, whose end would be its own as well.
    pub leaf: bool,
    /// When it is added, as its owner counts times; now, if that does not say so.
    pub added: Option<Nanos>,
}

impl TaskContext {
    /// A context without a tree. Whoever holds it can stop, hold and release the child through its
    /// [`gate`](Self::gate). It belongs to one life at a time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), supervisor_layers::BoxError> {
    /// use supervisor_layers::{TaskContext, TaskFactoryExt, service_fn};
    ///
    /// let ctx = TaskContext::detached("probe");
    /// let gate = ctx.gate();
    /// let life = tokio::spawn(service_fn(|ctx| async move { ctx.cancelled().await }).run(ctx));
    /// gate.shutdown();
    /// life.await??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn detached(id: &str) -> Self {
        let slot = Slot::new(format!("/{id}").into(), None, ContextSpec::default());
        Self::of_run(Arc::new(slot), 1).granted()
    }

    /// A context for a child of `owner`, before its first run.
    ///
    /// What a supervisor starts runs with is the context that [`Gate::next_run`] answers.
    pub fn supervised(path: Arc<str>, owner: Arc<dyn Owner>, spec: ContextSpec) -> Self {
        let generation = spec.generation;
        Self::of_run(Arc::new(Slot::new(path, Some(owner), spec)), generation)
    }

    fn granted(self) -> Self {
        // A new slot has neither stop nor hold, so its first run is always admitted.
        let _ = self.slot().begin_run(self.slot().now());
        self
    }

    pub(crate) fn of_run(slot: Arc<Slot>, generation: u64) -> Self {
        Self {
            gate: Gate::new(slot),
            generation,
        }
    }

    pub(crate) fn next(&self, generation: u64) -> Self {
        Self::of_run(self.slot().clone(), generation)
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        self.gate.slot()
    }

    /// The child's name among its siblings.
    pub fn id(&self) -> &str {
        self.slot().id()
    }

    /// Where the child stands in the tree: `/storage/database`.
    pub fn path(&self) -> &str {
        self.slot().path()
    }

    /// The same, to be kept without a copy.
    pub fn shared_path(&self) -> &Arc<str> {
        self.slot().path()
    }

    /// Which addition of the child this is; a name that was removed and added again has a new one.
    pub fn instance(&self) -> u64 {
        self.slot().instance()
    }

    /// The run's number: strictly increasing, never reused, the first is 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many starts in a row have not become healthy; 1 on a first start.
    pub fn attempt(&self) -> u32 {
        self.slot().attempt()
    }

    /// Whether this run is to stop, or has ended.
    pub fn is_cancelled(&self) -> bool {
        self.slot().is_cancelled(self.generation)
    }

    /// Waits until this run is to stop.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub fn cancelled(&self) -> Cancelled<'_> {
        Cancelled::of(self)
    }

    /// The same as a future that borrows nothing, for `with_graceful_shutdown` and its like.
    pub fn cancelled_owned(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let ctx = self.clone();
        async move { ctx.cancelled().await }
    }

    /// Runs `future` until it ends or this run is to stop, whichever comes first.
    ///
    /// A pending stop wins: the future is then not polled, and `None` is returned.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut cancelled = pin!(self.cancelled());
        let mut future = pin!(future);
        poll_fn(|cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// This run's stop as a [`CancellationToken`], for code that wants one. Each call makes one: cancelling
    /// it cancels nothing but itself and its children.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.slot().cancellation_token(self.generation)
    }

    /// Why this run is being stopped, once it is.
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.slot().stop_cause(self.generation)
    }

    /// When a stopping run will be dropped, if its stopper said so.
    pub fn stop_deadline(&self) -> Option<Instant> {
        self.slot().stop_deadline(self.generation)
    }

    /// Reports the run ready. Says nothing new for a child whose readiness is immediate.
    pub fn mark_ready(&self) {
        self.slot().mark_ready(self.generation);
    }

    /// A sign of life, for a child under a watchdog.
    pub fn heartbeat(&self) {
        self.slot().heartbeat(self.generation);
    }

    /// How often this run is to show a sign of life; `None` without a watchdog that asks for one.
    pub fn heartbeat_interval(&self) -> Option<Duration> {
        self.slot().heartbeat_interval()
    }

    /// Asks for more time before this run counts as not having started: at least `more` from now.
    pub fn extend_start(&self, more: Duration) {
        self.slot().extend_start(self.generation, more);
    }

    /// Asks for more time before a stopping run is dropped: at least `more` from now, up to what the
    /// stopper allows. No effect on a run that is not being stopped.
    pub fn extend_stop(&self, more: Duration) {
        self.slot().extend_stop(self.generation, more);
    }

    /// Starts a helper task that ends with this run: it is aborted when the run ends and joined before
    /// the next one begins. Its name, in reports of one that cannot be ended, is the place it was started.
    /// Of a run that has ended it is not started at all: its handle answers that it was cancelled.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, as [`tokio::spawn`].
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let place = Location::caller();
        self.slot()
            .helper(self.generation, place, false, |run| run.spawn(future))
    }

    /// Starts a function on the blocking pool that belongs to this run. A thread cannot be aborted: the
    /// child's next run waits until the function has returned, and a shutdown that does not wait so long
    /// reports it by name. One that looks at [`is_cancelled`](Self::is_cancelled) sees the run's end.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, as [`tokio::task::spawn_blocking`].
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, f: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let place = Location::caller();
        self.slot()
            .helper(self.generation, place, true, |run| run.spawn_blocking(f))
    }

    /// Through which the child is held, released, restarted and ended, in whatever state it is.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// The same, borrowed.
    pub fn as_gate(&self) -> &Gate {
        &self.gate
    }

    /// Who supervises the child, if anybody does.
    pub fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.slot().owner()
    }

    /// Everything about the child as it is now.
    pub fn snapshot(&self) -> ChildSnapshot {
        self.slot().snapshot()
    }

    /// What the child is doing.
    pub fn status(&self) -> ChildStatus {
        self.slot().look(|look| look.status())
    }

    /// Tells what a layer is set to, so that it can be shown. Layers do so at their first call.
    ///
    /// `settings` runs with the child's slot locked and must not call its contexts or its gate.
    pub fn publish(&self, settings: impl FnOnce(&mut ChildSettings)) {
        self.slot().publish(settings);
    }

    /// State that a layer keeps per child, made when first asked for. `key` tells apart two layers of one
    /// type in one stack. Forgotten when the child is released or restarted by hand.
    ///
    /// `f` runs with the child's slot locked and must not call its contexts or its gate; nor may `T` when it
    /// is made or dropped.
    pub fn memory<T: Default + Send + 'static, R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> R {
        self.slot().memory(key, f)
    }

    /// The same, if it was made; `f` runs with the child's slot locked, too.
    pub fn recall<T: Send + 'static, R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        self.slot().recall(key, f)
    }

    /// Whether this run's end counts against fuse and backoff: a stop by somebody else counts for
    /// nothing, a completion only for a permanent child whose run did not outlive the healthy time.
    pub fn counts(&self, completed: bool) -> bool {
        self.slot().counts(self.generation, completed)
    }

    /// The time since the origin of what the policies count in: the beginning of the child's tree, or its own.
    pub fn now(&self) -> Duration {
        self.slot().now().into()
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("path", &self.path())
            .field("generation", &self.generation)
            .field("stop", &self.stop_cause())
            .finish_non_exhaustive()
    }
}
