use std::task::{Context, Poll};

use tower_service::Service;

use super::{WatchdogFuture, WatchdogLayer};
use crate::{BoxError, TaskContext};

/// A child whose runs are watched; made by [`WatchdogLayer`].
#[derive(Debug, Clone)]
pub struct WatchdogService<S> {
    inner: S,
    limits: WatchdogLayer,
}

impl<S> WatchdogService<S> {
    pub(super) fn new(inner: S, limits: WatchdogLayer) -> Self {
        Self { inner, limits }
    }
}

impl<S> Service<TaskContext> for WatchdogService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = WatchdogFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if self.limits.stale_after.is_some() || self.limits.start_timeout.is_some() {
            ctx.publish(|settings| self.limits.publish(settings));
        }
        WatchdogFuture::new(self.inner.call(ctx.clone()), ctx, self.limits)
    }
}
