use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::ShutdownLayer;
use crate::{BoxError, FailureKind, TaskContext, TaskFailure, inner::Inner};

pin_project! {
    /// A run of a [`ShutdownService`](super::ShutdownService).
    pub struct ShutdownFuture<F> {
        #[pin]
        run: Option<F>,
        ctx: TaskContext,
        settings: ShutdownLayer,
        stopping: Stopping,
    }
}

impl<F> ShutdownFuture<F> {
    pub(super) fn new(run: F, ctx: TaskContext, settings: ShutdownLayer) -> Self {
        Self {
            run: Some(run),
            ctx,
            settings,
            stopping: Stopping::default(),
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
        this.stopping
            .poll(this.ctx, this.settings, &mut this.run, cx)
    }
}

/// What the layer has to do with a run.
#[derive(Default)]
pub(crate) struct Stopping {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stopping {
    #[inline]
    pub(crate) fn poll(
        &mut self,
        ctx: &TaskContext,
        settings: &ShutdownLayer,
        run: &mut impl Inner,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        if let Poll::Ready(result) = run.poll(cx) {
            return Poll::Ready(result);
        }
        let Some(grace) = settings.grace.map(Duration::from) else {
            return Poll::Pending;
        };
        // Asked anew at every poll: the run may have asked for more time while the timer ran.
        let drop_at = ready!(ctx.slot().poll_stop(cx, ctx.generation(), grace));
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(drop_at)));
        if timer.deadline() != drop_at {
            timer.as_mut().reset(drop_at);
        }
        ready!(timer.as_mut().poll(cx));
        run.end()?;
        let cause = ctx
            .stop_cause()
            .map_or_else(String::new, |cause| format!(" for {cause}"));
        let message = format!("did not end within its grace after a stop{cause}, and was dropped");
        Poll::Ready(Err(TaskFailure::new(FailureKind::Aborted, message).into()))
    }
}
