use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{StopCause, TaskContext};

/// How a layer saw the run inside it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Completed,
    Failed,
    /// Its future was dropped: by a timeout around it, after a panic, or with the whole life.
    Dropped,
}

impl Ended {
    pub(crate) fn of<T, E>(result: &Result<T, E>, ctx: &TaskContext) -> Self {
        // A run that returns because it was found unhealthy has not completed.
        let unhealthy = ctx.stop_cause() == Some(StopCause::Unhealthy);
        match result.is_ok() && !unhealthy {
            true => Self::Completed,
            false => Self::Failed,
        }
    }
}

/// What a layer does at the end of a run.
pub trait AtEnd {
    fn at_end(&self, ctx: &TaskContext, ended: Ended);
}

pin_project! {
    /// A run whose end its layer notes.
    pub struct NotedFuture<F, N: AtEnd> {
        #[pin]
        run: F,
        guard: EndGuard<N>,
    }
}

impl<F, N: AtEnd> NotedFuture<F, N> {
    #[inline]
    pub(crate) fn new(run: F, guard: EndGuard<N>) -> Self {
        Self { run, guard }
    }
}

impl<F, N, E> Future for NotedFuture<F, N>
where
    F: Future<Output = Result<(), E>>,
    N: AtEnd,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.run.poll(cx));
        this.guard.ended(&result);
        Poll::Ready(result)
    }
}

/// Calls a layer exactly once at the end of a run, however it ends.
pub(crate) struct EndGuard<N: AtEnd> {
    /// The run whose end is still to come, if the layer wants to know of it.
    pub(crate) ctx: Option<TaskContext>,
    pub(crate) note: N,
}

impl<N: AtEnd> EndGuard<N> {
    #[inline]
    pub(crate) fn new(ctx: impl Into<Option<TaskContext>>, note: N) -> Self {
        let ctx = ctx.into();
        Self { ctx, note }
    }

    pub(crate) fn ended<T, E>(&mut self, result: &Result<T, E>) {
        if let Some(ctx) = &self.ctx {
            self.end(Ended::of(result, ctx));
        }
    }

    fn end(&mut self, ended: Ended) {
        if let Some(ctx) = self.ctx.take() {
            self.note.at_end(&ctx, ended);
        }
    }
}

impl<N: AtEnd> Drop for EndGuard<N> {
    fn drop(&mut self) {
        self.end(Ended::Dropped);
    }
}
