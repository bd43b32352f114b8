//! x
#![warn(missing_docs)]
pub mod spec;
pub use spec::{
    AutoShutdown, ChildSpec, DynamicChildren, EscalationPolicy, InvalidId, OnFuseBlown,
    ShutdownOrder, SupervisionStrategy, SupervisorPath, SupervisorSpec,
};
pub use supervisor_layers::{
    Backoff, BackoffLayer, BoxError, ChildPolicy, ChildSettings, FailureKind, Fuse, FuseLayer,
    FuseLimit, Gate, IntoTaskResult, Jitter, LifecycleEvent, ObserveLayer, QuarantineLayer,
    RestartAction, RestartDecision, RestartLayer, RestartType, ServiceBuilderExt, ShutdownLayer,
    StartRateLayer, StopCause, SupervisedLayer, TaskContext, TaskExit, TaskFactory, TaskFactoryExt,
    TaskFailure, TaskResult, WatchdogLayer, context::ReadinessPolicy, ms, secs, service_fn,
};
