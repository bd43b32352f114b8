//! One span per run, metrics, poll statistics.
//!
//! - **Span** `supervisor.run` with path, generation and attempt, target `rust_supervisor`, entered at
//!   every poll: what the child logs belongs to its run.
//! - **Metrics** through the `metrics` facade: `supervisor_child_exits_total{child, exit}`,
//!   `supervisor_child_restarts_total{child}`, `supervisor_run_duration_seconds{child}`. The label `child`
//!   is the path, with a pool's index left out, so that its cardinality is that of the declaration. A
//!   recorder has to be installed before the children start.
//! - **Poll statistics** in the child's state: polls, time spent in them, the longest, and how many took
//!   longer than a threshold. Time here is the real clock's, as a virtual one stands still during a poll.
//!
//! ```
//! use supervisor_layers::{ObserveLayer, TaskContext, TaskFactoryExt, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), supervisor_layers::BoxError> {
//! let child = ServiceBuilder::new()
//!     .layer(ObserveLayer::new())
//!     .service(service_fn(|_| tokio::task::yield_now()));
//! let ctx = TaskContext::detached("probe");
//! child.run(ctx.clone()).await?;
//! assert_eq!(ctx.snapshot().polls.polls, 2);
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod meter;
mod service;

pub use future::ObserveFuture;
pub use layer::ObserveLayer;
pub use meter::{CHILD_EXITS, CHILD_RESTARTS, RUN_DURATION};
pub use service::ObserveService;
