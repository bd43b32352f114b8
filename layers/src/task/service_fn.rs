use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{CatchPanicFuture, IntoTaskResult, catch_panic};
use crate::{BoxError, TaskContext};

/// Makes a child of a function: each run is one call of it.
///
/// The closure needs no annotation of `ctx`, and what it returns may be anything that is
/// [`IntoTaskResult`]. What it captures is cloned per run, as its future must own what it uses. A panic,
/// in the closure, in its future or in a destructor, is an error of the run.
///
/// ```
/// use supervisor_layers::service_fn;
///
/// let db = std::sync::Arc::new("connection");
/// let child = service_fn(move |ctx| {
///     let db = db.clone();
///     async move {
///         while ctx.run_until_cancelled(tokio::task::yield_now()).await.is_some() {
///             let _ = &db;
///         }
///     }
/// });
/// # fn is_child(_: impl supervisor_layers::TaskFactory) {}
/// # is_child(child);
/// ```
pub fn service_fn<F, Fut>(f: F) -> ServiceFn<F>
where
    F: FnMut(TaskContext) -> Fut,
    Fut: Future,
    Fut::Output: IntoTaskResult,
{
    ServiceFn { f }
}

/// A child made of a function; see [`service_fn`].
#[derive(Clone)]
pub struct ServiceFn<F> {
    f: F,
}

impl<F> fmt::Debug for ServiceFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceFn")
            .field("f", &std::any::type_name::<F>())
            .finish()
    }
}

impl<F, Fut> Service<TaskContext> for ServiceFn<F>
where
    F: FnMut(TaskContext) -> Fut,
    Fut: Future,
    Fut::Output: IntoTaskResult,
{
    type Response = ();
    type Error = BoxError;
    type Future = ServiceFnFuture<Fut>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        let run = catch_panic(|| (self.f)(ctx)).map(|run| AsResult { run });
        ServiceFnFuture {
            run: CatchPanicFuture::new(run),
        }
    }
}

pin_project! {
    /// A run of a [`ServiceFn`].
    pub struct ServiceFnFuture<Fut> {
        #[pin]
        run: CatchPanicFuture<AsResult<Fut>>,
    }
}

impl<Fut> Future for ServiceFnFuture<Fut>
where
    Fut: Future,
    Fut::Output: IntoTaskResult,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

pin_project! {
    struct AsResult<Fut> {
        #[pin]
        run: Fut,
    }
}

impl<Fut> Future for AsResult<Fut>
where
    Fut: Future,
    Fut::Output: IntoTaskResult,
{
    type Output = Result<(), <Fut::Output as IntoTaskResult>::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project()
            .run
            .poll(cx)
            .map(IntoTaskResult::into_task_result)
    }
}
