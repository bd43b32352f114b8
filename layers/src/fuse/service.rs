use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::layer::Kind;
use crate::{
    BoxError, TaskContext,
    ended::{AtEnd, EndGuard, Ended, NotedFuture},
    policy::SlidingLog,
};

/// A child with a limit on its failures; made by [`FuseLayer`](super::FuseLayer).
#[derive(Debug, Clone)]
pub struct FuseService<S> {
    inner: S,
    kind: Kind,
}

impl<S> FuseService<S> {
    pub(super) fn new(inner: S, kind: Kind) -> Self {
        Self { inner, kind }
    }
}

/// A run of a [`FuseService`].
pub type FuseFuture<F> = NotedFuture<F, Note>;

impl<S> Service<TaskContext> for FuseService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = S::Error;
    type Future = FuseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        let limit = match &self.kind {
            Kind::Off => None,
            Kind::Own(limit) => Some(**limit),
            Kind::Shared(fuse) => Some(fuse.limit()),
        };
        if limit.is_some() {
            ctx.publish(|settings| settings.fuse = settings.fuse.or(limit));
        }
        let guard = EndGuard::new(limit.map(|_| ctx.clone()), Note::new(self.kind.clone()));
        NotedFuture::new(self.inner.call(ctx), guard)
    }
}

/// What the fuse counts.
#[derive(Debug)]
pub struct Note {
    kind: Kind,
}

impl Note {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind }
    }
}

impl AtEnd for Note {
    fn at_end(&self, ctx: &TaskContext, ended: Ended) {
        if matches!(self.kind, Kind::Off) || !ctx.counts(ended == Ended::Completed) {
            return;
        }
        let reading = match &self.kind {
            Kind::Off => return,
            Kind::Own(limit) => {
                let now = ctx.now();
                ctx.memory(Arc::as_ptr(limit).addr(), |log: &mut SlidingLog| {
                    log.charge(**limit, now)
                })
            }
            Kind::Shared(fuse) => fuse.charge(),
        };
        ctx.slot().note_fuse(reading);
    }
}
