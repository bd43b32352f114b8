use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::service::Note;
use crate::ended::EndGuard;

pin_project! {
    /// A run of a [`QuarantineService`](super::QuarantineService).
    pub struct QuarantineFuture<F> {
        #[pin]
        run: F,
        guard: EndGuard<Note>,
    }
}

impl<F> QuarantineFuture<F> {
    pub(super) fn new(run: F, guard: EndGuard<Note>) -> Self {
        Self { run, guard }
    }
}

impl<F, E> Future for QuarantineFuture<F>
where
    F: Future<Output = Result<(), E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.run.poll(cx));
        this.guard.ended(&result);
        Poll::Ready(result)
    }
}
