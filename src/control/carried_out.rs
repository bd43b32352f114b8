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
    /// Whatever it does is part of what it was begun in.
    begun_in: Span,
    /// None once it is over.
    rest: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: 'static> CarriedOut<T> {
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(super) fn new(work: Pin<Box<dyn Future<Output = T> + Send>>) -> Self {
        Self {
            runtime: Handle::current(),
            begun_in: Span::current(),
            rest: Some(work),
        }
    }
}

impl<T: 'static> Future for CarriedOut<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let Some(rest) = &mut this.rest else {
            panic!("polled after completion")
        };
        let _begun_in = this.begun_in.enter();
        let poll = rest.as_mut().poll(cx);
        if poll.is_ready() {
            this.rest = None;
        }
        poll
    }
}

impl<T: 'static> Drop for CarriedOut<T> {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            let begun_in = std::mem::replace(&mut self.begun_in, Span::none());
            self.runtime
                .spawn(async { drop(rest.await) }.instrument(begun_in));
        }
    }
}
