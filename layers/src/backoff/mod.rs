//! Waits before the next run.
//!
//! After a failure the service is not ready until its delay has passed; what the delay is, the policy
//! [`Backoff`](crate::Backoff) says. Counts what the fuse counts: a stop by somebody else delays nothing,
//! and a run that lasted [`reset_after`](crate::Backoff::reset_after) starts the curve anew. A release or a
//! restart by hand ends a delay that is running. No timer is made for a delay of zero; one timer per life
//! is reused for all others.
//!
//! ```
//! use supervisor_layers::{BackoffLayer, Jitter, RestartLayer, TaskContext, TaskFactoryExt, ms, secs, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), supervisor_layers::BoxError> {
//! let child = ServiceBuilder::new()
//!     .layer(RestartLayer::transient())
//!     .layer(BackoffLayer::exponential(ms(100), secs(5)).jitter(Jitter::None))
//!     .service(service_fn(|ctx| async move { if ctx.generation() < 4 { Err("not yet") } else { Ok(()) } }));
//! let began = tokio::time::Instant::now();
//! child.run(TaskContext::detached("probe")).await?;
//! assert_eq!(began.elapsed(), ms(100 + 200 + 400));
//! # Ok(())
//! # }
//! ```

mod delay;
mod layer;
mod service;

pub(crate) use delay::Delay;
pub use layer::BackoffLayer;
pub(crate) use service::Note;
pub use service::{BackoffFuture, BackoffService};
