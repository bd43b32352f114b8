use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::TaskContext;

pin_project! {
    /// See [`TaskFactoryExt::run`](super::TaskFactoryExt::run).
    pub struct RunFuture<S, F> {
        service: S,
        ctx: Option<TaskContext>,
        #[pin]
        run: Option<F>,
    }
}

impl<S, F> RunFuture<S, F> {
    pub(super) fn new(service: S, ctx: TaskContext) -> Self {
        Self {
            service,
            ctx: Some(ctx),
            run: None,
        }
    }
}

impl<S> Future for RunFuture<S, S::Future>
where
    S: Service<TaskContext>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.ctx.is_some() {
            if let Err(error) = ready!(this.service.poll_ready(cx)) {
                this.ctx.take();
                return Poll::Ready(Err(error));
            }
            if let Some(ctx) = this.ctx.take() {
                this.run.set(Some(this.service.call(ctx)));
            }
        }
        match this.run.as_pin_mut() {
            Some(run) => run.poll(cx),
            None => panic!("polled after completion"),
        }
    }
}

impl<S: fmt::Debug, F> fmt::Debug for RunFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFuture")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
