//! A child: a [`Service`](tower_service::Service) of [`TaskContext`](crate::TaskContext), and how its runs end.

mod catch;
mod exit;
mod factory;
mod failure;
mod result;
mod run;
mod service_fn;

pub use catch::catch_panic;
pub use catch::{CatchPanic, CatchPanicFuture};
pub use exit::TaskExit;
pub use factory::{TaskFactory, TaskFactoryExt};
pub(crate) use failure::RunFailure;
pub use failure::{FailureKind, PanicSite, TaskFailure};
pub use result::{IntoTaskResult, TaskResult};
pub use run::RunFuture;
pub use service_fn::{ServiceFn, ServiceFnFuture, service_fn};
