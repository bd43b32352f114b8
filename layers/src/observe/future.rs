use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::Span;

use super::{ObserveLayer, meter::Meter};
use crate::{
    BoxError, TaskContext, TaskExit, TaskFailure,
    ended::{AtEnd, EndGuard, Ended},
    real_time::{Moment, nanos},
    task::catch_panic,
};

pin_project! {
    /// A run of an [`ObserveService`](super::ObserveService).
    pub struct ObserveFuture<F> {
        #[pin]
        run: F,
        ctx: TaskContext,
        span: Span,
        settings: ObserveLayer,
        guard: EndGuard<Count>,
    }
}

impl<F> ObserveFuture<F> {
    pub(super) fn new(
        run: F,
        ctx: TaskContext,
        span: Span,
        settings: ObserveLayer,
        mut guard: EndGuard<Count>,
    ) -> Self {
        guard.note.exit = TaskExit::Aborted;
        Self {
            run,
            ctx,
            span,
            settings,
            guard,
        }
    }
}

impl<F, E> Future for ObserveFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let (watched, timed) = (this.guard.note.watched, this.settings.poll_statistics);
        let began = (watched || timed).then(Moment::now);
        if let Some(began) = began.filter(|_| watched) {
            this.ctx.slot().poll_word().begins(began.nanos());
        }
        // Unless the poll returns, it panicked.
        this.guard.note.exit = TaskExit::Panicked;
        let poll = this.run.poll(cx);
        if watched {
            this.ctx.slot().poll_word().ends();
        }
        if let Some(began) = began.filter(|_| timed) {
            let took = began.elapsed();
            this.ctx
                .slot()
                .note_poll(took, took > nanos(this.settings.slow_poll));
        }
        let Poll::Ready(result) = poll else {
            this.guard.note.exit = TaskExit::Aborted;
            return Poll::Pending;
        };
        let result: Result<(), BoxError> = result.map_err(Into::into);
        // An error that cannot be displayed is a failure like any other.
        let _ = catch_panic(|| log(&result));
        drop(entered);
        this.guard.note.exit = match &result {
            Ok(()) => match this.ctx.stop_cause() {
                Some(cause) if cause.is_foreign() => TaskExit::Cancelled,
                Some(_) => TaskExit::Unhealthy,
                None => TaskExit::Completed,
            },
            Err(error) => TaskFailure::exit_of(error.as_ref()),
        };
        this.guard.ended(&result);
        Poll::Ready(result)
    }
}

fn log(result: &Result<(), BoxError>) {
    match result {
        Ok(()) => tracing::debug!(target: "rust_supervisor", "run ended"),
        Err(error) => tracing::warn!(target: "rust_supervisor", error = %error, "run failed"),
    }
}

pub(super) struct Count {
    meter: Option<Arc<Meter>>,
    /// The monitor looks at its polls, for this layer.
    watched: bool,
    /// How the run ended, should it be dropped now.
    exit: TaskExit,
}

impl Count {
    /// Of a run that is about to be called.
    pub(super) fn new(meter: Option<Arc<Meter>>, watched: bool) -> Self {
        Self {
            meter,
            watched,
            exit: TaskExit::Panicked,
        }
    }
}

impl AtEnd for Count {
    fn at_end(&self, ctx: &TaskContext, _: Ended) {
        if self.watched {
            ctx.slot().poll_word().over();
        }
        if let Some(meter) = &self.meter {
            meter.ended(ctx, self.exit, ctx.slot().ran_for());
        }
    }
}
