use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

/// What is carried out whoever waits for it: in the task of the one who does, and, when that one goes away, in a
/// task of its own.
pub(super) struct CarriedOut<T: 'static> {
    runtime: Handle,
    /// None once it is over.
    rest: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: 'static> CarriedOut<T> {
    /// Whatever it does is part of what it was begun in.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        let span = Span::current();
        Self {
            runtime: Handle::current(),
            rest: Some(match span.is_none() {
                true => Box::pin(work),
                false => Box::pin(work.instrument(span)),
            }),
        }
    }
}

impl<T: 'static> Future for CarriedOut<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(rest) = &mut self.rest else {
            panic!("polled after completion")
        };
        let poll = rest.as_mut().poll(cx);
        if poll.is_ready() {
            self.rest = None;
        }
        poll
    }
}

impl<T: 'static> Drop for CarriedOut<T> {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.runtime.spawn(async { drop(rest.await) });
        }
    }
}
