//! Supervision of Tokio tasks, the way Erlang/OTP supervises processes, with tower middleware as its
//! building block.
//!
//! - A **child** is a [`Service`](tower_service::Service) of [`TaskContext`]; one call is one **run** of it.
//! - What concerns one child (restart, backoff, fuse, quarantine, graceful stop, observation) is a tower
//!   layer, and works alone, in any tower stack.
//! - What concerns siblings is a **supervisor**, itself a service: trees nest.
//! - A running tree is steered and asked through its [`SupervisorHandle`].
//! - With the feature `log-tail`, the module `log_tail` has a `tracing-subscriber` layer that keeps each child's
//!   last log records.
//! - With the feature `test-util`, the module `test_util` has what tests of one's own tree need.
//!
//! ```no_run
//! use rust_supervisor::{ChildSpec, Supervisor, SupervisorSpec, TaskContext, TaskResult};
//!
//! async fn ticker(ctx: TaskContext) -> TaskResult {
//!     let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
//!     while ctx.run_until_cancelled(every.tick()).await.is_some() {
//!         println!("tick of run {}", ctx.generation());
//!     }
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), rust_supervisor::SupervisorError> {
//!     let tree = SupervisorSpec::one_for_one("app").child(ChildSpec::worker("ticker", ticker));
//!     let handle = Supervisor::start(tree).await?; // returns once everything has started
//!     handle.shutdown_on_signal().await?; // Ctrl-C or SIGTERM: four stages, report
//!     Ok(())
//! }
//! ```

pub mod audit;
mod commanded;
pub mod config;
pub mod control;
mod error;
pub mod event;
mod lanes;
#[cfg(feature = "log-tail")]
pub mod log_tail;
mod meta;
pub mod metrics;
mod record;
pub mod shutdown;
pub mod spec;
pub mod state;
pub mod summary;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
mod tree;

pub use audit::{Audit, AuditEntry, AuditFailureStrategy, AuditFile, AuditRecord, AuditedCommand};
pub use config::{ConfigError, Factories, SupervisorConfig};
pub use control::{
    AddedChild, Change, Children, CommandMeta, CommandOutcome, ControlPlane, ExitOutcome, Health,
    InvalidCommandMeta, RuntimeExitReport, SupervisedTask, Supervisor, SupervisorHandle,
    WeakSupervisorHandle,
};
pub use error::SupervisorError;
pub use event::{
    EventFilter, EventItem, EventKind, EventStream, Journal, JournalFile, JournalItem, LagLevel,
    Severity, SupervisorEvent, TreeEvent,
};
pub use record::{Rotation, Skipped};
pub use shutdown::{ChildShutdownStatus, ShutdownResult, ShutdownStage};
pub use spec::{
    AutoShutdown, Backpressure, BackpressureStrategy, ChildSpec, DynamicChildren, EscalationPolicy,
    InvalidId, NewChild, OnFuseBlown, ShutdownOrder, SupervisionStrategy, SupervisorPath,
    SupervisorSpec,
};
pub use state::{NodeState, NodeStatus, TreeState};
pub use summary::RunSummary;
/// All of the layers crate.
pub use supervisor_layers as layers;
pub use supervisor_layers::{
    Backoff, BackoffLayer, BoxError, ChildPolicy, ChildSettings, ChildStatus, FailureKind, Fuse,
    FuseLayer, FuseLimit, Gate, IntoTaskResult, Jitter, LifecycleEvent, ObserveLayer,
    QuarantineLayer, RestartAction, RestartDecision, RestartLayer, RestartType, ServiceBuilderExt,
    ShutdownLayer, StartRateLayer, StopCause, SupervisedLayer, TaskContext, TaskExit, TaskFactory,
    TaskFactoryExt, TaskFailure, TaskResult, WatchdogLayer, context::ReadinessPolicy, ms, secs,
    service_fn,
};

/// The README's programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// And so are those of the page on observation.
#[cfg(all(doctest, feature = "log-tail"))]
#[doc = include_str!("../docs/observation.md")]
struct Observation;
