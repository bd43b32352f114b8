//! Runs a child again after an exit, or not.
//!
//! The outermost layer of a supervised stack. A call starts a **life**: all runs from now until the child
//! is finished, gave up, or is stopped for good. After each exit one
//! [`RestartDecision`](crate::RestartDecision) is made of the exit and of what the layers inside noted; a
//! restart in place touches no channel and no other task.
//!
//! What a life ends with: `Ok(())` when the child finished or was stopped for good; a
//! [`TaskFailure`](crate::TaskFailure) otherwise, of kind
//! [`GaveUp`](crate::FailureKind::GaveUp) when its fuse blew.
//!
//! The whole life is one future. Dropping it, or a tower `timeout` *around* this layer, ends the life; a
//! `timeout` *inside* limits one run. Two of tower's layers do not belong inside: `load_shed` turns every
//! "not now" of a backoff or a limit into a failure, and `buffer` is dead for good after the first
//! readiness error. `concurrency_limit` inside limits nothing, as one child runs once at a time: use
//! [`GlobalConcurrencyLimitLayer`](https://docs.rs/tower/latest/tower/limit/concurrency/struct.GlobalConcurrencyLimitLayer.html)
//! for a limit over several children.
//!
//! ```
//! use supervisor_layers::{RestartLayer, TaskContext, TaskFactoryExt, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), supervisor_layers::BoxError> {
//! let child = ServiceBuilder::new().layer(RestartLayer::transient()).service(service_fn(|ctx| async move {
//!     if ctx.generation() < 3 { Err("not yet") } else { Ok(()) }
//! }));
//! let ctx = TaskContext::detached("probe");
//! child.run(ctx.clone()).await?;
//! assert_eq!(ctx.snapshot().restarts(), 2);
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use future::RestartFuture;
pub use layer::RestartLayer;
pub use service::RestartService;
