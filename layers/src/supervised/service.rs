use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{Layers, SupervisedRun};
use crate::{BoxError, TaskContext, backoff::Delay, restart::RestartService};

/// A child under all layers.
pub type SupervisedService<S> = RestartService<SupervisedRuns<S>>;

/// A child under all layers but the one that runs it again: as it would be under each of them, but with
/// one set of them for all children of a policy, laid around a run when it begins.
pub struct SupervisedRuns<S> {
    inner: S,
    layers: Arc<Layers>,
    delay: Delay,
}

impl<S> SupervisedRuns<S> {
    pub(super) fn new(inner: S, layers: Arc<Layers>) -> Self {
        Self {
            inner,
            layers,
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
        ready!(self.delay.poll(self.layers.backoff.policy(), cx));
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if self.delay.is_new() {
            ctx.slot().settings_are(&self.layers.settings);
        }
        self.delay.runs(&ctx);
        SupervisedRun::begin(ctx, &self.layers, |ctx| self.inner.call(ctx))
    }
}

/// A clone is a fresh start: it waits for nothing.
impl<S: Clone> Clone for SupervisedRuns<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layers.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for SupervisedRuns<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedRuns")
            .field("inner", &self.inner)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}
