use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::Span;

use super::meter::Meter;
use crate::{
    BoxError, TaskContext, TaskExit, TaskFailure,
    ended::{AtEnd, EndGuard, Ended},
    policy::Nanos,
    real_time::Moment,
    task::catch_panic,
};

pin_project! {
    /// A run of an [`ObserveService`](super::ObserveService).
    pub struct ObserveFuture<F> {
        #[pin]
        run: F,
        // None if nobody listens.
        span: Option<Box<Span>>,
        // From when on a poll is slow; none if polls are not counted.
        slow_poll: Option<Nanos>,
        guard: EndGuard<Count>,
    }
}

impl<F> ObserveFuture<F> {
    #[inline]
    pub(super) fn new(
        run: F,
        span: Span,
        slow_poll: Option<Nanos>,
        mut guard: EndGuard<Count>,
    ) -> Self {
        guard.note.exit = TaskExit::Aborted;
        Self {
            run,
            span: (!span.is_disabled()).then(|| Box::new(span)),
            slow_poll,
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
        let EndGuard {
            ctx: Some(ctx),
            note,
        } = this.guard
        else {
            panic!("polled after completion")
        };
        let entered = this.span.as_deref().map(Span::enter);
        let watched = note.watched;
        let began = (watched || this.slow_poll.is_some()).then(Moment::now);
        if let Some(began) = began.filter(|_| watched) {
            ctx.slot().poll_word().begins(began.nanos());
        }
        // Unless the poll returns, it panicked.
        note.exit = TaskExit::Panicked;
        let poll = this.run.poll(cx);
        if watched {
            ctx.slot().poll_word().ends();
        }
        if let (Some(began), Some(slow)) = (began, *this.slow_poll) {
            let took = began.elapsed();
            ctx.slot().note_poll(took, took > slow.get());
        }
        let Poll::Ready(result) = poll else {
            note.exit = TaskExit::Aborted;
            return Poll::Pending;
        };
        let result: Result<(), BoxError> = result.map_err(Into::into);
        note.exit = match &result {
            Ok(()) => {
                tracing::debug!(target: "rust_supervisor", "run ended");
                match ctx.stop_cause() {
                    Some(cause) if cause.is_foreign() => TaskExit::Cancelled,
                    Some(_) => TaskExit::Unhealthy,
                    None => TaskExit::Completed,
                }
            }
            Err(error) => {
                // An error that cannot be read is a failure like any other.
                let mut exit = TaskExit::Failed;
                let _ = catch_panic(|| {
                    exit = TaskFailure::exit_of(error.as_ref());
                    tracing::warn!(target: "rust_supervisor", error = %error, "run failed");
                });
                exit
            }
        };
        drop(entered);
        this.guard.ended(&result);
        Poll::Ready(result)
    }
}

pub(super) struct Count {
    metrics: bool,
    /// The monitor looks at its polls, for this layer.
    watched: bool,
    /// How the run ended, should it be dropped now.
    exit: TaskExit,
}

impl Count {
    /// Of a run that is about to be called.
    pub(super) fn new(metrics: bool, watched: bool) -> Self {
        Self {
            metrics,
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
        if self.metrics {
            Meter::ended(ctx, self.exit);
        }
    }
}
