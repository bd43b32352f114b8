use std::task::{Context, Poll};

use tower_service::Service;
use tracing::Span;

use super::{ObserveFuture, ObserveLayer, future::Count, meter::Meter, monitor};
use crate::{BoxError, TaskContext, ended::EndGuard};

/// An observed child; made by [`ObserveLayer`].
#[derive(Debug, Clone)]
pub struct ObserveService<S> {
    inner: S,
    settings: ObserveLayer,
}

impl<S> ObserveService<S> {
    pub(super) fn new(inner: S, settings: ObserveLayer) -> Self {
        Self { inner, settings }
    }
}

impl<S> Service<TaskContext> for ObserveService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        self.settings.run(ctx, |ctx| self.inner.call(ctx))
    }
}

impl ObserveLayer {
    /// Has a run begin under observation.
    pub(crate) fn run<F>(
        &self,
        ctx: TaskContext,
        call: impl FnOnce(TaskContext) -> F,
    ) -> ObserveFuture<F> {
        let span = run_span(&ctx);
        if self.metrics {
            Meter::begun(&ctx);
        }
        let watched = monitor::watch(&ctx, self);
        let guard = EndGuard::new(ctx.clone(), Count::new(self.metrics, watched));
        let run = match span.is_disabled() {
            true => call(ctx),
            false => span.in_scope(|| call(ctx)),
        };
        let slow_poll = self.poll_statistics.then_some(self.slow_poll);
        ObserveFuture::new(run, span, slow_poll, guard)
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
