use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{Layers, SupervisedRun, layers};
use crate::{BoxError, TaskContext, backoff::Delay, context::Slot, restart::RestartService};

/// A child under all layers.
pub type SupervisedService<S> = RestartService<SupervisedRuns<S>>;

/// A child under all layers but the one that runs it again: as it would be under each of them, but with
/// one set of them for all children of a policy, laid around a run when it begins.
pub struct SupervisedRuns<S> {
    inner: S,
    /// Unless the child has them itself: children of one policy do not meet at a count.
    own: Option<Arc<Layers>>,
    /// Once it is known.
    child: Option<Arc<Slot>>,
    delay: Delay,
}

impl<S> SupervisedRuns<S> {
    pub(super) fn new(inner: S, layers: Arc<Layers>) -> Self {
        Self {
            inner,
            own: Some(layers),
            child: None,
            delay: Delay::default(),
        }
    }

    /// Under the layers that the child has itself.
    pub(super) fn of(child: Arc<Slot>, inner: S) -> Self {
        Self {
            inner,
            own: None,
            child: Some(child),
            delay: Delay::default(),
        }
    }
}

impl<S> Service<TaskContext> for SupervisedRuns<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = SupervisedRun<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let child = self.child.as_deref();
        let policy = layers(&self.own, child).backoff.policy();
        ready!(self.delay.poll(child, policy, cx));
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if self.child.is_none() {
            let settings = &layers(&self.own, None).settings;
            ctx.slot().settings_are(settings);
            self.child = Some(ctx.slot().clone());
        }
        SupervisedRun::begin(ctx, self.own.as_ref(), |ctx| self.inner.call(ctx))
    }
}

/// A clone is a fresh start: it waits for nothing.
impl<S: Clone> Clone for SupervisedRuns<S> {
    fn clone(&self) -> Self {
        let layers = layers(&self.own, self.child.as_deref()).clone();
        Self::new(self.inner.clone(), layers)
    }
}

impl<S: fmt::Debug> fmt::Debug for SupervisedRuns<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedRuns")
            .field("inner", &self.inner)
            .field("layers", layers(&self.own, self.child.as_deref()))
            .finish_non_exhaustive()
    }
}
