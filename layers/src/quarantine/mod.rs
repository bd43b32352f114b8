//! Holds a child whose fuse blew instead of giving it up.
//!
//! Outside of a [`FuseLayer`](crate::FuseLayer): when its fuse blows, the child's gate closes with the
//! reason. It is down, visible, and costs nothing, until somebody releases it through its
//! [`Gate`](crate::Gate) or the time given has passed; either way fuse and backoff are then as new.
//!
//! ```
//! use supervisor_layers::{
//!     ChildStatus, FuseLayer, QuarantineLayer, RestartLayer, TaskContext, TaskFactoryExt, secs, service_fn,
//! };
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), supervisor_layers::BoxError> {
//! let child = ServiceBuilder::new()
//!     .layer(RestartLayer::transient())
//!     .layer(QuarantineLayer::until_released())
//!     .layer(FuseLayer::new(3, secs(60)))
//!     .service(service_fn(|ctx| async move { if ctx.generation() < 5 { Err("broken") } else { Ok(()) } }));
//! let ctx = TaskContext::detached("probe");
//! let life = tokio::spawn(child.run(ctx.clone()));
//! let held = ctx.gate().ready().await.unwrap_err();
//! assert_eq!(held.to_string(), "quarantined: fuse blown: more than 3 in 60s");
//! ctx.gate().release();
//! life.await??; // its fifth run completes
//! # Ok(())
//! # }
//! ```

mod layer;
mod service;

pub use layer::QuarantineLayer;
pub(crate) use service::Note;
pub use service::{QuarantineFuture, QuarantineService};
