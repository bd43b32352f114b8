use std::task::{Context, Poll};

use tower_service::Service;

use super::{ShutdownFuture, ShutdownLayer};
use crate::{BoxError, TaskContext};

/// A child whose runs are dropped when their grace is over; made by [`ShutdownLayer`](super::ShutdownLayer).
#[derive(Debug, Clone)]
pub struct ShutdownService<S> {
    inner: S,
    settings: ShutdownLayer,
}

impl<S> ShutdownService<S> {
    pub(super) fn new(inner: S, settings: ShutdownLayer) -> Self {
        Self { inner, settings }
    }
}

impl<S> Service<TaskContext> for ShutdownService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ShutdownFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if self.settings.grace.is_some() {
            ctx.publish(|settings| self.settings.publish(settings));
        }
        ShutdownFuture::new(self.inner.call(ctx.clone()), ctx, self.settings)
    }
}
