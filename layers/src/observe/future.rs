use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::Span;

use super::{ObserveLayer, meter::Meter, monitor};
use crate::{
    BoxError, TaskContext, TaskExit, TaskFailure,
    ended::{AtEnd, EndGuard, Ended},
    real_time::Moment,
    task::catch_panic,
};

pin_project! {
    /// A run of an [`ObserveService`](super::ObserveService).
    pub struct ObserveFuture<F> {
        #[pin]
        run: F,
        guard: EndGuard<Count>,
    }
}

impl<F> ObserveFuture<F> {
    /// Has a run begin under observation.
    pub(super) fn begin(
        ctx: TaskContext,
        settings: ObserveLayer,
        call: impl FnOnce(TaskContext) -> F,
    ) -> Self {
        let observed = Observed::begin(&ctx, &settings);
        let mut guard = EndGuard::new(ctx.clone(), Count { settings, observed });
        let run = guard.note.observed.call(|| call(ctx));
        Self { run, guard }
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
            note: Count { settings, observed },
        } = this.guard
        else {
            panic!("polled after completion")
        };
        let run = this.run;
        let poll = observed.poll(ctx, settings, || run.poll(cx).map_err(Into::into));
        if let Poll::Ready(result) = &poll {
            this.guard.ended(result);
        }
        poll
    }
}

/// What the layer has to do when a run ends.
struct Count {
    settings: ObserveLayer,
    observed: Observed,
}

impl AtEnd for Count {
    fn at_end(&self, ctx: &TaskContext, _: Ended) {
        self.observed.at_end(ctx, &self.settings);
    }
}

/// What the layer has to do with a run.
pub(crate) struct Observed {
    /// None if nobody listens.
    span: Option<Box<Span>>,
    /// The monitor looks at its polls, for this layer.
    watched: bool,
    /// How the run ended, should it be dropped now.
    exit: TaskExit,
}

impl Observed {
    /// Of a run that is about to be called.
    #[inline]
    pub(crate) fn begin(ctx: &TaskContext, settings: &ObserveLayer) -> Self {
        let span = run_span(ctx);
        if settings.metrics {
            Meter::begun(ctx);
        }
        Self {
            span: (!span.is_disabled()).then(|| Box::new(span)),
            watched: monitor::watch(ctx, settings),
            exit: TaskExit::Panicked,
        }
    }

    #[inline]
    pub(crate) fn call<F>(&mut self, call: impl FnOnce() -> F) -> F {
        let run = match &self.span {
            None => call(),
            Some(span) => span.in_scope(call),
        };
        self.exit = TaskExit::Aborted;
        run
    }

    #[inline]
    pub(crate) fn poll(
        &mut self,
        ctx: &TaskContext,
        settings: &ObserveLayer,
        run: impl FnOnce() -> Poll<Result<(), BoxError>>,
    ) -> Poll<Result<(), BoxError>> {
        let entered = self.span.as_deref().map(Span::enter);
        let began = (self.watched || settings.poll_statistics).then(Moment::now);
        if let Some(began) = began.filter(|_| self.watched) {
            ctx.slot().poll_word().begins(began.nanos());
        }
        // Unless the poll returns, it panicked.
        self.exit = TaskExit::Panicked;
        let poll = run();
        if self.watched {
            ctx.slot().poll_word().ends();
        }
        if let Some(began) = began.filter(|_| settings.poll_statistics) {
            let took = began.elapsed();
            ctx.slot().note_poll(took, took > settings.slow_poll.get());
        }
        self.exit = match &poll {
            Poll::Pending => TaskExit::Aborted,
            Poll::Ready(result) => exit(ctx, result),
        };
        drop(entered);
        poll
    }

    pub(crate) fn at_end(&self, ctx: &TaskContext, settings: &ObserveLayer) {
        if self.watched {
            ctx.slot().poll_word().over();
        }
        if settings.metrics {
            Meter::ended(ctx, self.exit);
        }
    }
}

/// How a run ended that answered so; told within its span.
fn exit(ctx: &TaskContext, result: &Result<(), BoxError>) -> TaskExit {
    match result {
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
    }
}

/// A run is part of what its child was created in, however much later and wherever it begins.
fn run_span(ctx: &TaskContext) -> Span {
    let creator = || ctx.slot().creator().and_then(Span::id);
    tracing::info_span!(
        target: "rust_supervisor",
        parent: creator().or_else(|| Span::current().id()),
        "supervisor.run",
        path = ctx.path(),
        generation = ctx.generation(),
        attempt = ctx.attempt(),
    )
}
