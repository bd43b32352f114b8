//! Lets so many failures pass within a window; the next one blows the fuse.
//!
//! What counts is decided at the exit: every failure, however it ends the run (error, panic, an outer
//! timeout that drops it), and the completion of a permanent child that did not run healthily for a while
//! before. A stop by somebody else counts for nothing. As OTP's intensity, for one child: `N` pass, the
//! next one is too many, and one exactly as old as the window still counts.
//!
//! The layer only notes; what a blown fuse means is decided outside of it: a
//! [`QuarantineLayer`](crate::QuarantineLayer) holds the child, without one the
//! [`RestartLayer`](crate::RestartLayer) gives it up. Costs nothing until a failure, then a few dozen
//! bytes per child.
//!
//! ```
//! use supervisor_layers::{FuseLayer, RestartLayer, TaskContext, TaskFactoryExt, secs, service_fn};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let child = ServiceBuilder::new()
//!     .layer(RestartLayer::permanent())
//!     .layer(FuseLayer::new(3, secs(60)))
//!     .service(service_fn(|_| async { Err::<(), _>("connection refused") }));
//! let ctx = TaskContext::detached("probe");
//! let gave_up = child.run(ctx.clone()).await.unwrap_err();
//! assert_eq!(gave_up.to_string(), "gave up; Permanent child failed, fuse 4 of 3 in 60s");
//! assert_eq!(ctx.snapshot().generation, 4);
//! # }
//! ```

mod handle;
mod layer;
mod service;

pub use handle::Fuse;
pub use layer::FuseLayer;
pub(crate) use service::Note;
pub use service::{FuseFuture, FuseService};
