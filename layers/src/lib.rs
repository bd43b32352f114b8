//! Supervision of Tokio tasks as tower layers.
//!
//! A **child** is a [`Service`](tower_service::Service) of [`TaskContext`]; one `call` is one **run** of
//! it. Each layer adds one thing that concerns one child, works in any tower stack, and needs no tree:
//!
//! | layer, outermost first | what it does |
//! |---|---|
//! | [`RestartLayer`] | runs the child again after an exit, or not |
//! | [`QuarantineLayer`] | holds a child whose fuse blew instead of giving it up |
//! | [`FuseLayer`] | lets so many failures pass within a window |
//! | [`BackoffLayer`] | waits before the next run |
//! | [`ObserveLayer`] | a span per run, metrics, poll statistics, polls that are stuck |
//! | [`WatchdogLayer`] | ends a run that shows no sign of life, or does not start |
//! | [`ShutdownLayer`] | gives a stopping run its grace, then drops it |
//!
//! ```
//! use std::time::Duration;
//! use supervisor_layers::{
//!     BackoffLayer, BoxError, FuseLayer, Jitter, ObserveLayer, QuarantineLayer, RestartLayer,
//!     ShutdownLayer, TaskContext, TaskFactoryExt, TaskResult, ms, secs, service_fn,
//! };
//! use tower::ServiceBuilder;
//!
//! async fn consume_queue(ctx: TaskContext) -> TaskResult {
//!     while ctx.run_until_cancelled(tokio::time::sleep(ms(1))).await.is_some() {
//!         if ctx.generation() == 3 {
//!             return Ok(()); // done: a transient child is not restarted after this
//!         }
//!         Err("connection lost")?;
//!     }
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let child = ServiceBuilder::new()
//!     .layer(RestartLayer::transient())
//!     .layer(QuarantineLayer::until_released())
//!     .layer(FuseLayer::new(5, Duration::from_secs(60)))
//!     .layer(BackoffLayer::exponential(ms(100), secs(5)).jitter(Jitter::Full))
//!     .layer(ObserveLayer::new())
//!     .layer(ShutdownLayer::grace(secs(5)))
//!     .timeout(secs(3600)) // tower's own: a limit on one run
//!     .service(service_fn(consume_queue));
//!
//! child.clone().run(TaskContext::detached("consumer")).await?; // alone, no tree: one life
//! # Ok(())
//! # }
//! ```

pub mod backoff;
mod builder;
pub mod context;
mod ended;
pub mod fuse;
mod inner;
pub mod metric;
pub mod observe;
pub mod policy;
pub mod quarantine;
mod real_time;
pub mod restart;
pub mod serde_micros;
pub mod serde_millis;
pub mod shutdown;
pub mod start_rate;
mod stop;
pub mod supervised;
mod sync;
pub mod task;
pub mod watchdog;

use std::time::Duration;

pub use backoff::BackoffLayer;
pub use builder::ServiceBuilderExt;
pub use context::{
    ChildSettings, ChildSnapshot, ChildStatus, Gate, HoldReason, LifecycleEvent, NextRun, Owner,
    ReadinessPolicy, TaskContext,
};
pub use fuse::{Fuse, FuseLayer};
pub use observe::ObserveLayer;
pub use policy::{Backoff, FuseLimit, Jitter, RestartAction, RestartDecision, RestartType};
pub use quarantine::QuarantineLayer;
pub use restart::RestartLayer;
pub use shutdown::ShutdownLayer;
pub use start_rate::StartRateLayer;
pub use stop::StopCause;
pub use supervised::{ChildPolicy, SupervisedLayer};
pub use task::{
    FailureKind, IntoTaskResult, TaskExit, TaskFactory, TaskFactoryExt, TaskFailure, TaskResult,
    service_fn,
};
pub use watchdog::WatchdogLayer;

/// What any error becomes at a service's boundary; tower's own.
pub type BoxError = tower::BoxError;

/// So many milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// So many seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
