use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{Layers, SupervisedLayer, layers};
use crate::{
    BoxError, TaskContext, TaskFailure,
    ended::Ended,
    inner::Inner,
    observe::Observed,
    shutdown::{ShutdownLayer, Stopping},
    watchdog::Watching,
};

pin_project! {
    /// A run of a child under all layers: as it would be with each of them around the next, but with what all
    /// of them know of the run once.
    pub struct SupervisedRun<F> {
        #[pin]
        run: Option<F>,
        stopping: Stopping,
        watching: Watching,
        // Last, to see the run end also when that is dropped with it.
        end: End,
    }
}

impl<F> SupervisedRun<F> {
    #[inline]
    pub(super) fn begin(
        ctx: TaskContext,
        own: Option<&Arc<Layers>>,
        call: impl FnOnce(TaskContext) -> F,
    ) -> Self {
        let mut end = End::of(ctx, own);
        let ctx = end.ctx.clone();
        let run = end.observed.call(|| call(ctx));
        Self {
            run: Some(run),
            stopping: Stopping::default(),
            watching: Watching::default(),
            end,
        }
    }
}

impl<F, E> Future for SupervisedRun<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (stopping, watching) = (this.stopping, this.watching);
        let End {
            ctx, own, observed, ..
        } = &mut *this.end;
        let (ctx, layers) = (&*ctx, layers(own, Some(ctx.slot())));
        let mut run = Graceful {
            run: this.run,
            stopping,
            ctx,
            settings: &layers.shutdown,
        };
        let poll = observed.poll(ctx, &layers.observe, || {
            watching.poll(ctx, &layers.watchdog, &mut run, cx)
        });
        let result = ready!(poll);
        this.end.ended(Ended::of(&result, &this.end.ctx));
        Poll::Ready(result)
    }
}

/// A run with a graceful stop, as the layers around that see it.
struct Graceful<'a, R> {
    run: R,
    stopping: &'a mut Stopping,
    ctx: &'a TaskContext,
    settings: &'a ShutdownLayer,
}

impl<R: Inner> Inner for Graceful<'_, R> {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stopping
            .poll(self.ctx, self.settings, &mut self.run, cx)
    }

    fn end(&mut self) -> Result<(), TaskFailure> {
        self.run.end()
    }
}

/// What the layers do at the end of a run, once and however it ends.
struct End {
    ctx: TaskContext,
    /// Unless the child has them itself.
    own: Option<Arc<Layers>>,
    observed: Observed,
    over: bool,
}

impl End {
    #[inline]
    fn of(ctx: TaskContext, own: Option<&Arc<Layers>>) -> Self {
        let known = ctx.slot().layer().map(SupervisedLayer::layers);
        let own = own.filter(|own| !known.is_some_and(|known| Arc::ptr_eq(known, own)));
        let own = own.cloned();
        let observe = &layers(&own, Some(ctx.slot())).observe;
        Self {
            observed: Observed::begin(&ctx, observe),
            own,
            ctx,
            over: false,
        }
    }

    /// From the inside out, as the layers would be laid.
    fn ended(&mut self, ended: Ended) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let layers = layers(&self.own, Some(self.ctx.slot()));
        self.observed.at_end(&self.ctx, &layers.observe);
        layers.note(&self.ctx, ended);
    }
}

impl Drop for End {
    #[inline]
    fn drop(&mut self) {
        self.ended(Ended::Dropped);
    }
}

impl<F> fmt::Debug for SupervisedRun<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedRun")
            .field("ctx", &self.end.ctx)
            .finish_non_exhaustive()
    }
}
