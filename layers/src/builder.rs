use std::time::Duration;

use tower::{ServiceBuilder, layer::util::Stack};

use crate::{
    Backoff, BackoffLayer, ChildPolicy, FuseLayer, ObserveLayer, QuarantineLayer, RestartLayer,
    RestartType, ShutdownLayer, SupervisedLayer, WatchdogLayer,
};

/// This crate's layers as methods of tower's [`ServiceBuilder`].
///
/// ```
/// use supervisor_layers::{Backoff, RestartType, ServiceBuilderExt, TaskContext, TaskFactoryExt, ms, secs, service_fn};
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), supervisor_layers::BoxError> {
/// let child = ServiceBuilder::new()
///     .restart(RestartType::Transient)
///     .quarantine(None)
///     .fuse(5, secs(60))
///     .backoff(Backoff::exponential(ms(100), secs(5)))
///     .observe()
///     .graceful(secs(5))
///     .service(service_fn(|_| async {}));
/// child.run(TaskContext::detached("probe")).await?;
/// # Ok(())
/// # }
/// ```
pub trait ServiceBuilderExt<L>: Sized {
    /// Runs the child again, by its restart type; see [`RestartLayer`].
    fn restart(self, restart: RestartType) -> ServiceBuilder<Stack<RestartLayer, L>>;

    /// Holds the child when its fuse blows, until released or for a time; see [`QuarantineLayer`].
    fn quarantine(
        self,
        release_after: Option<Duration>,
    ) -> ServiceBuilder<Stack<QuarantineLayer, L>>;

    /// Lets so many failures pass within a window; see [`FuseLayer`].
    fn fuse(self, failures: u32, window: Duration) -> ServiceBuilder<Stack<FuseLayer, L>>;

    /// Waits before the next run; see [`BackoffLayer`].
    fn backoff(self, policy: Backoff) -> ServiceBuilder<Stack<BackoffLayer, L>>;

    /// Observes the runs; see [`ObserveLayer`].
    fn observe(self) -> ServiceBuilder<Stack<ObserveLayer, L>>;

    /// Ends a run that shows no sign of life; see [`WatchdogLayer`].
    fn watchdog(self, limits: WatchdogLayer) -> ServiceBuilder<Stack<WatchdogLayer, L>>;

    /// Gives a stopping run its grace; see [`ShutdownLayer`].
    fn graceful(self, grace: Duration) -> ServiceBuilder<Stack<ShutdownLayer, L>>;

    /// All of them; see [`SupervisedLayer`].
    fn supervised(self, policy: ChildPolicy) -> ServiceBuilder<Stack<SupervisedLayer, L>>;
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    fn restart(self, restart: RestartType) -> ServiceBuilder<Stack<RestartLayer, L>> {
        self.layer(RestartLayer::new(restart))
    }

    fn quarantine(
        self,
        release_after: Option<Duration>,
    ) -> ServiceBuilder<Stack<QuarantineLayer, L>> {
        self.layer(release_after.map_or_else(
            QuarantineLayer::until_released,
            QuarantineLayer::release_after,
        ))
    }

    fn fuse(self, failures: u32, window: Duration) -> ServiceBuilder<Stack<FuseLayer, L>> {
        self.layer(FuseLayer::new(failures, window))
    }

    fn backoff(self, policy: Backoff) -> ServiceBuilder<Stack<BackoffLayer, L>> {
        self.layer(BackoffLayer::new(policy))
    }

    fn observe(self) -> ServiceBuilder<Stack<ObserveLayer, L>> {
        self.layer(ObserveLayer::new())
    }

    fn watchdog(self, limits: WatchdogLayer) -> ServiceBuilder<Stack<WatchdogLayer, L>> {
        self.layer(limits)
    }

    fn graceful(self, grace: Duration) -> ServiceBuilder<Stack<ShutdownLayer, L>> {
        self.layer(ShutdownLayer::grace(grace))
    }

    fn supervised(self, policy: ChildPolicy) -> ServiceBuilder<Stack<SupervisedLayer, L>> {
        self.layer(SupervisedLayer::new(policy))
    }
}
