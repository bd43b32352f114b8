use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use supervisor_layers::{
    BoxError, IntoTaskResult, SupervisedLayer, TaskContext, TaskFactory, TaskFailure, service_fn,
    supervised::SupervisedService,
    task::{CatchPanic, catch_panic},
};
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::{sync::lock, tree::ChildTask};

/// What a child is made of. Its type is known here and nowhere else, so this is where its task is made: the
/// task's future has the life in itself, and there is no box around it.
pub(crate) trait Build: Send + Sync {
    fn spawn(self: Arc<Self>, task: ChildTask) -> JoinHandle<()>;

    /// It runs in the default stack.
    fn is_supervised(&self) -> bool {
        true
    }
}

/// Where a child's lives come from; made in the child's own task, once per task.
pub(crate) trait Lives: Send + 'static {
    type Life: Future<Output = Result<(), TaskFailure>> + Send;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskFailure>>;
    /// `layer` is what its supervisor has it run under, if it brings none.
    fn call(&mut self, ctx: TaskContext, layer: &SupervisedLayer) -> Self::Life;
}

/// Lives in the default stack: each has a new one, and nothing is kept between them.
pub(crate) struct Supervised<M> {
    pub(crate) make: M,
}

impl<M, S> Lives for Supervised<M>
where
    M: FnMut() -> S + Send + 'static,
    S: TaskFactory,
{
    type Life = <SupervisedService<S> as Service<TaskContext>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ctx: TaskContext, layer: &SupervisedLayer) -> Self::Life {
        layer.life((self.make)(), ctx)
    }
}

/// A function in the default stack.
pub(crate) struct OfFn<F> {
    pub(crate) f: F,
}

impl<F, Fut> Build for OfFn<F>
where
    F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: IntoTaskResult,
{
    fn spawn(self: Arc<Self>, task: ChildTask) -> JoinHandle<()> {
        let make = move || {
            let this = self.clone();
            service_fn(move |ctx| (this.f)(ctx))
        };
        task.spawn(Supervised { make })
    }
}

/// A service of the user's own, cloned for each task.
pub(crate) struct Template<S> {
    service: Mutex<S>,
}

impl<S: Clone> Template<S> {
    pub(crate) fn new(service: S) -> Self {
        Self {
            service: Mutex::new(service),
        }
    }

    fn fresh(&self) -> S {
        lock(&self.service).clone()
    }
}

/// A service of the user's own in the default stack.
pub(crate) struct OfService<S>(pub(crate) Template<S>);

impl<S: TaskFactory> Build for OfService<S> {
    fn spawn(self: Arc<Self>, task: ChildTask) -> JoinHandle<()> {
        let make = move || CatchPanic::new(self.0.fresh());
        task.spawn(Supervised { make })
    }
}

/// A stack of the user's own, run exactly as given.
pub(crate) struct OfStack<S>(pub(crate) Template<S>);

impl<S: TaskFactory> Build for OfStack<S> {
    fn spawn(self: Arc<Self>, task: ChildTask) -> JoinHandle<()> {
        task.spawn(Kept {
            template: self,
            service: None,
        })
    }

    fn is_supervised(&self) -> bool {
        false
    }
}

/// Lives of one service, which may keep what it likes between them.
struct Kept<S> {
    template: Arc<OfStack<S>>,
    service: Option<Box<S>>,
}

impl<S: TaskFactory> Kept<S> {
    fn service(&mut self) -> &mut S {
        let fresh = || Box::new(self.template.0.fresh());
        self.service.get_or_insert_with(fresh)
    }
}

impl<S: TaskFactory> Lives for Kept<S> {
    type Life = Recognised<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        let ready = self.service().poll_ready(cx);
        ready.map_err(|error| TaskFailure::of(error.into()))
    }

    fn call(&mut self, ctx: TaskContext, _: &SupervisedLayer) -> Self::Life {
        Recognised {
            run: self.service().call(ctx),
        }
    }
}

pin_project! {
    /// A life with its error recognised; an async block would hold the life twice.
    struct Recognised<F> {
        #[pin]
        run: F,
    }
}

impl<F, E> Future for Recognised<F>
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
