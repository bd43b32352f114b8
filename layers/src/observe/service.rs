use std::task::{Context, Poll};

use tower_service::Service;

use super::{ObserveFuture, ObserveLayer};
use crate::{BoxError, TaskContext};

/// An observed child; made by [`ObserveLayer`].
#[derive(Debug, Clone)]
pub struct ObserveService<S> {
    inner: S,
    settings: ObserveLayer,
}

impl<S> ObserveService<S> {
    pub(super) fn new(inner: S, settings: ObserveLayer) -> Self {
        Self { inner, settings }
    }
}

impl<S> Service<TaskContext> for ObserveService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        ObserveFuture::begin(ctx, self.settings, |ctx| self.inner.call(ctx))
    }
}
