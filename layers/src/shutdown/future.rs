use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::ShutdownLayer;
use crate::{BoxError, FailureKind, TaskContext, TaskFailure, policy::Nanos, task::catch_panic};

pin_project! {
    /// A run of a [`ShutdownService`](super::ShutdownService).
    pub struct ShutdownFuture<F> {
        #[pin]
        run: Option<F>,
        ctx: TaskContext,
        grace: Option<Nanos>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> ShutdownFuture<F> {
    #[inline]
    pub(crate) fn new(run: F, ctx: TaskContext, layer: &ShutdownLayer) -> Self {
        Self {
            run: Some(run),
            ctx,
            grace: layer.grace,
            timer: None,
        }
    }
}

impl<F, E> Future for ShutdownFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.run.as_mut().as_pin_mut() {
            Some(run) => {
                if let Poll::Ready(result) = run.poll(cx) {
                    return Poll::Ready(result.map_err(Into::into));
                }
            }
            None => panic!("polled after completion"),
        }
        let Some(grace) = this.grace.map(Duration::from) else {
            return Poll::Pending;
        };
        // Asked anew at every poll: the run may have asked for more time while the timer ran.
        let drop_at = ready!(this.ctx.slot().poll_stop(cx, this.ctx.generation(), grace));
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(drop_at)));
        if timer.deadline() != drop_at {
            timer.as_mut().reset(drop_at);
        }
        ready!(timer.as_mut().poll(cx));
        catch_panic(|| this.run.set(None))?;
        let cause = this
            .ctx
            .stop_cause()
            .map_or_else(String::new, |cause| format!(" for {cause}"));
        let message = format!("did not end within its grace after a stop{cause}, and was dropped");
        Poll::Ready(Err(TaskFailure::new(FailureKind::Aborted, message).into()))
    }
}
