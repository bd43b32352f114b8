//! Gives a stopping run its grace, then drops it.
//!
//! A run is told to stop through its context and usually returns by itself. One that has not done so when
//! its grace is over, or at the stopper's deadline if that is sooner, is dropped: its exit is
//! [`Aborted`](crate::TaskExit::Aborted). The run may ask for more time with
//! [`TaskContext::extend_stop`](crate::TaskContext::extend_stop). No timer exists until a stop.
//!
//! What cannot be dropped is a thread: a run that blocks in a poll goes on until it returns.
//!
//! ```
//! use supervisor_layers::{ShutdownLayer, TaskContext, TaskExit, TaskFactoryExt, TaskFailure, secs, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let deaf = ServiceBuilder::new()
//!     .layer(ShutdownLayer::grace(secs(5)))
//!     .service(service_fn(|_| std::future::pending::<()>()));
//! let ctx = TaskContext::detached("deaf");
//! let run = tokio::spawn(deaf.run(ctx.clone()));
//! ctx.gate().shutdown();
//! let error = run.await.unwrap().unwrap_err();
//! assert_eq!(TaskFailure::of(error).exit(), TaskExit::Aborted);
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use future::ShutdownFuture;
pub(crate) use future::Stopping;
pub use layer::ShutdownLayer;
pub use service::ShutdownService;
