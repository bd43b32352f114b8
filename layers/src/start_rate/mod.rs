//! A shared limit on starts, that tames a restart storm.
//!
//! So many runs may begin per period, over all children whose stacks were made by clones of one layer:
//! the first burst passes at once, then they come evenly. tower's `RateLimit` limits one service and can
//! be neither cloned nor shared. Belongs inside [`BackoffLayer`](crate::BackoffLayer).
//!
//! ```
//! use supervisor_layers::{RestartLayer, StartRateLayer, TaskContext, TaskFactoryExt, secs, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), supervisor_layers::BoxError> {
//! let storm = StartRateLayer::new(2, secs(1)); // for every child that shares the layer
//! let child = ServiceBuilder::new()
//!     .layer(RestartLayer::transient())
//!     .layer(storm.clone())
//!     .service(service_fn(|ctx| async move { if ctx.generation() < 6 { Err("not yet") } else { Ok(()) } }));
//! let began = tokio::time::Instant::now();
//! child.run(TaskContext::detached("probe")).await?;
//! assert_eq!(began.elapsed(), secs(2)); // two at once, four more at two a second
//! # Ok(())
//! # }
//! ```

mod layer;
mod rate;
mod service;

pub use layer::StartRateLayer;
pub use service::StartRateService;
