use std::task::{Context, Poll};

use tower_service::Service;

use super::RestartFuture;
use crate::{BoxError, RestartType, TaskContext, TaskFailure, task::catch_panic};

/// A child that runs again; made by [`RestartLayer`](super::RestartLayer).
#[derive(Debug, Clone)]
pub struct RestartService<S> {
    inner: S,
    restart: RestartType,
}

impl<S> RestartService<S> {
    /// Around `inner`.
    pub fn new(inner: S, restart: RestartType) -> Self {
        Self { inner, restart }
    }
}

impl<S> RestartService<S>
where
    S: Service<TaskContext, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    /// The one life of a service that is asked for no other: as `call`, which keeps a clone for the next.
    pub(crate) fn into_life(self, ctx: TaskContext) -> RestartFuture<S, S::Future> {
        begin(Ok(self.inner), ctx, self.restart)
    }
}

fn begin<S: Service<TaskContext>>(
    service: Result<S, TaskFailure>,
    ctx: TaskContext,
    restart: RestartType,
) -> RestartFuture<S, S::Future> {
    ctx.slot().manage(restart);
    RestartFuture::new(service, ctx, restart)
}

impl<S> Service<TaskContext> for RestartService<S>
where
    S: Service<TaskContext, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = TaskFailure;
    type Future = RestartFuture<S, S::Future>;

    /// Always ready: the service inside is asked before each run, by the life that makes the run.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        // The life takes the service that was built; a next life starts fresh from the clone.
        let service = catch_panic(|| self.inner.clone())
            .map(|fresh| std::mem::replace(&mut self.inner, fresh));
        begin(service, ctx, self.restart)
    }
}
