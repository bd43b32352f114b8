use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{BoxError, TaskFailure, task::catch_panic};

/// A run as a layer around it sees it.
pub(crate) trait Inner {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;

    /// Drops it before it is over.
    ///
    /// # Errors
    ///
    /// Its destructor panicked.
    fn end(&mut self) -> Result<(), TaskFailure>;
}

impl<F, E> Inner for Pin<&mut Option<F>>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.as_mut().as_pin_mut() {
            Some(run) => run.poll(cx).map_err(Into::into),
            None => panic!("polled after completion"),
        }
    }

    fn end(&mut self) -> Result<(), TaskFailure> {
        catch_panic(|| self.set(None))
    }
}
