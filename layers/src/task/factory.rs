use tower_service::Service;

use super::RunFuture;
use crate::{BoxError, TaskContext};

/// Every service that can be a child: the name of the bound, implemented for all that satisfy it.
///
/// Each call builds a fresh run, and a clone is a fresh start.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no child",
    note = "a child is a `Service<TaskContext, Response = ()>` that is `Clone + Send + 'static`, with a \
            `Future: Send + 'static` and an `Error: Into<BoxError>`; `service_fn` makes one of a function"
)]
pub trait TaskFactory:
    Service<TaskContext, Response = (), Error: Into<BoxError>, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> TaskFactory for S where
    S: Service<TaskContext, Response = (), Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// What every service of a [`TaskContext`] can do.
pub trait TaskFactoryExt: Service<TaskContext> + Sized {
    /// Waits until the service is ready and calls it: one run, or one life of a stack topped by a
    /// [`RestartLayer`](crate::RestartLayer).
    ///
    /// Of a stack without a `RestartLayer` nobody tells the context that its run has ended, as the run may be
    /// part of a larger one: its helper tasks and its state are then the caller's to look after, through
    /// [`Gate::end_life`](crate::Gate::end_life).
    ///
    /// In the place of tower's `oneshot`, whose future cannot be held across an await in a spawned async
    /// block once a stack has a timeout in it.
    fn run(self, ctx: TaskContext) -> RunFuture<Self, Self::Future> {
        RunFuture::new(self, ctx)
    }
}

impl<S: Service<TaskContext>> TaskFactoryExt for S {}
