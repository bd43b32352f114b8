use std::task::{Context, Poll};

use tower_service::Service;

use super::{QuarantineLayer, layer::release_after};
use crate::{
    BoxError, StopCause, TaskContext,
    ended::{AtEnd, EndGuard, Ended, NotedFuture},
    policy::Nanos,
};

/// A child that is held when its fuse blows; made by [`QuarantineLayer`](super::QuarantineLayer).
#[derive(Debug, Clone)]
pub struct QuarantineService<S> {
    inner: S,
    settings: QuarantineLayer,
}

impl<S> QuarantineService<S> {
    pub(super) fn new(inner: S, settings: QuarantineLayer) -> Self {
        Self { inner, settings }
    }
}

/// A run of a [`QuarantineService`].
pub type QuarantineFuture<F> = NotedFuture<F, Note>;

impl<S> Service<TaskContext> for QuarantineService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = S::Error;
    type Future = QuarantineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        let hold = self.settings.hold;
        if hold.is_some() {
            ctx.publish(|settings| self.settings.publish(settings));
        }
        let guard = EndGuard::new(hold.map(|_| ctx.clone()), self.settings.note());
        NotedFuture::new(self.inner.call(ctx), guard)
    }
}

/// Whether the child is held.
#[derive(Debug, Clone, Copy)]
pub struct Note {
    pub(super) hold: Option<Nanos>,
}

impl AtEnd for Note {
    fn at_end(&self, ctx: &TaskContext, _: Ended) {
        let Some(hold) = self.hold else { return };
        // The fuse is inside: by now it has noted what it reads, unless somebody else stopped the run.
        if !ctx.stop_cause().is_some_and(StopCause::is_foreign) {
            ctx.slot().note_quarantine(release_after(hold));
        }
    }
}
