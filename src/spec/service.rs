use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use crate::sync::lock;
use pin_project_lite::pin_project;
use supervisor_layers::{
    BoxError, ChildPolicy, IntoTaskResult, SupervisedLayer, TaskContext, TaskFactory, TaskFailure,
    service_fn,
    task::{CatchPanic, catch_panic},
};
use tower_layer::Layer;
use tower_service::Service;

/// One life of a child behind one box.
pub(crate) type LifeFuture = Pin<Box<dyn Future<Output = Result<(), TaskFailure>> + Send>>;

/// Builds a child's stack; called in the child's own task, once per task.
pub(crate) trait Build: Send + Sync {
    fn build(&self, policy: &ChildPolicy) -> Box<dyn BoxedChild>;
}

/// A stack with its type erased: one box per stack and one per life, none per restart in place.
pub(crate) trait BoxedChild: Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskFailure>>;
    fn call(&mut self, ctx: TaskContext) -> LifeFuture;
}

impl<S: TaskFactory> BoxedChild for S {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        Service::poll_ready(self, cx).map_err(|error| TaskFailure::of(error.into()))
    }

    fn call(&mut self, ctx: TaskContext) -> LifeFuture {
        Box::pin(Life {
            run: Service::call(self, ctx),
        })
    }
}

pin_project! {
    /// A life with its error recognised; an async block would hold the life twice.
    struct Life<F> {
        #[pin]
        run: F,
    }
}

impl<F, E> Future for Life<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), TaskFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().run.poll(cx));
        Poll::Ready(result.map_err(|error| TaskFailure::of(error.into())))
    }
}

/// A function in the default stack.
pub(crate) struct OfFn<F> {
    pub(crate) f: Arc<F>,
}

impl<F, Fut> Build for OfFn<F>
where
    F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: IntoTaskResult,
{
    fn build(&self, policy: &ChildPolicy) -> Box<dyn BoxedChild> {
        let f = self.f.clone();
        Box::new(SupervisedLayer::new(*policy).layer(service_fn(move |ctx| f(ctx))))
    }
}

/// A stack of the user's own, run exactly as given.
pub(crate) struct OfStack<S> {
    template: Mutex<S>,
}

impl<S: TaskFactory> OfStack<S> {
    pub(crate) fn new(stack: S) -> Self {
        Self {
            template: Mutex::new(stack),
        }
    }

    fn fresh(&self) -> S {
        lock(&self.template).clone()
    }
}

impl<S: TaskFactory> Build for OfStack<S> {
    fn build(&self, _: &ChildPolicy) -> Box<dyn BoxedChild> {
        Box::new(self.fresh())
    }
}

/// A service of the user's own in the default stack.
pub(crate) struct OfService<S> {
    pub(crate) stack: OfStack<S>,
}

impl<S: TaskFactory> Build for OfService<S> {
    fn build(&self, policy: &ChildPolicy) -> Box<dyn BoxedChild> {
        Box::new(SupervisedLayer::new(*policy).layer(CatchPanic::new(self.stack.fresh())))
    }
}

/// A plain function on the blocking pool, as a run: the run owns its thread until the function returns.
pub(crate) fn blocking<F, R>(
    f: Arc<F>,
) -> impl Fn(TaskContext) -> BlockingRun + Send + Sync + 'static
where
    F: Fn(TaskContext) -> R + Send + Sync + 'static,
    R: IntoTaskResult + Send + 'static,
{
    move |ctx: TaskContext| {
        let f = f.clone();
        let run = ctx.clone();
        // Caught in its own thread, where the panic's location is known.
        let thread = ctx.spawn_blocking(move || {
            catch_panic(|| f(run).into_task_result().map_err(Into::into))
                .unwrap_or_else(|panic| Err(panic.into()))
        });
        Box::pin(async move { thread.await? })
    }
}

pub(crate) type BlockingRun = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
