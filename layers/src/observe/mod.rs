//! One span per run, metrics, poll statistics, and a report of polls that are stuck.
//!
//! - **Span** `supervisor.run` with path, generation and attempt, target `rust_supervisor`, entered at
//!   every poll: what the child logs belongs to its run. Its parent is the span that the child was created
//!   in, which lasts as long as the child then; whoever does not want that creates it in none.
//! - **Metrics** through the `metrics` facade: those of [`METRICS`]. The label `child` is the path, with `*` for a pool's index,
//!   so that its cardinality is that of the declaration. A recorder has to be installed before the children
//!   start.
//! - **Poll statistics** in the child's state: polls, time spent in them, the longest, and how many took
//!   longer than a threshold. Time here is the real clock's, as a virtual one stands still during a poll.
//! - **Stuck polls**: one that has been running for longer than another threshold, and still is, blocks its
//!   worker thread and whoever waits for that. It is reported once: in the child's state for as long as it
//!   lasts, as [`Stuck`](crate::LifecycleEvent::Stuck), in the log, in the metrics. One thread per process
//!   looks at all children, begins with the first that is watched, and sleeps while there is none. It can
//!   report, and not end what blocks: only the child can. A child that is meant to work in its poll, or
//!   hands its thread over with `block_in_place`, is one to set a longer threshold for.
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
mod monitor;
mod service;

pub use future::ObserveFuture;
pub(crate) use future::Observed;
pub use layer::ObserveLayer;
pub(crate) use meter::Meter;
pub use meter::{
    CHILD_EXITS, CHILD_RESTARTS, CHILD_RUNNING, CHILD_STARTS, METRICS, RUN_DURATION, STUCK_POLLS,
};
pub(crate) use monitor::leave;
pub use service::ObserveService;
