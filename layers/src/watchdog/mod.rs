//! Ends a run that shows no sign of life, or does not start in time.
//!
//! - **Liveness**: a ready run that has not called [`heartbeat`](crate::TaskContext::heartbeat) for
//!   `stale_after` is asked to stop; its exit is [`Unhealthy`](crate::TaskExit::Unhealthy). One that never
//!   beats is stale too, counted from when it became ready.
//! - **Start**: a run of explicit readiness that is not ready within `start_timeout` is asked to stop; its
//!   exit is [`TimedOut`](crate::TaskExit::TimedOut). [`extend_start`](crate::TaskContext::extend_start)
//!   gains time.
//!
//! Both are the child's own failures and count as such. With a [`ShutdownLayer`](crate::ShutdownLayer)
//! inside the run has its grace; without one it is dropped at once. One timer per run, none for a child
//! that asks for neither.
//!
//! ```
//! use supervisor_layers::{TaskContext, TaskExit, TaskFactoryExt, TaskFailure, WatchdogLayer, secs, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let hangs = ServiceBuilder::new()
//!     .layer(WatchdogLayer::new().stale_after(secs(3)))
//!     .service(service_fn(|_| std::future::pending::<()>()));
//! let ctx = TaskContext::detached("hangs");
//! let error = hangs.run(ctx).await.unwrap_err();
//! assert_eq!(TaskFailure::of(error).exit(), TaskExit::Unhealthy);
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use future::WatchdogFuture;
pub(crate) use future::Watching;
pub use layer::WatchdogLayer;
pub use service::WatchdogService;
