use tower_layer::Layer;

use super::ChildPolicy;
use crate::{
    BackoffLayer, FuseLayer, QuarantineLayer, RestartLayer, ShutdownLayer, backoff::BackoffService,
    fuse::FuseService, observe::ObserveService, quarantine::QuarantineService,
    restart::RestartService, shutdown::ShutdownService, watchdog::WatchdogService,
};

/// A child under all layers, outermost first.
pub type SupervisedService<S> = RestartService<
    QuarantineService<
        FuseService<BackoffService<ObserveService<WatchdogService<ShutdownService<S>>>>>,
    >,
>;

/// All layers at once; what a [`ChildPolicy`] leaves out does nothing.
///
/// ```
/// use supervisor_layers::{ChildPolicy, RestartType, SupervisedLayer, TaskContext, TaskFactoryExt, service_fn};
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), supervisor_layers::BoxError> {
/// let policy = ChildPolicy { restart: RestartType::Transient, ..ChildPolicy::default() };
/// let child = ServiceBuilder::new().layer(SupervisedLayer::new(policy)).service(service_fn(|_| async {}));
/// child.run(TaskContext::detached("probe")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SupervisedLayer {
    restart: RestartLayer,
    quarantine: QuarantineLayer,
    fuse: FuseLayer,
    backoff: BackoffLayer,
    policy: ChildPolicy,
    shutdown: ShutdownLayer,
}

impl SupervisedLayer {
    /// As the policy says.
    pub fn new(policy: ChildPolicy) -> Self {
        Self {
            restart: RestartLayer::new(policy.restart),
            quarantine: match policy.quarantine {
                Some(Some(time)) => QuarantineLayer::release_after(time),
                Some(None) => QuarantineLayer::until_released(),
                None => QuarantineLayer::off(),
            },
            fuse: FuseLayer::limit(policy.fuse),
            backoff: BackoffLayer::new(policy.backoff),
            shutdown: policy
                .grace
                .map_or_else(ShutdownLayer::off, ShutdownLayer::grace),
            policy,
        }
    }
}

impl<S> Layer<S> for SupervisedLayer {
    type Service = SupervisedService<S>;

    fn layer(&self, child: S) -> Self::Service {
        let run = self.policy.watchdog.layer(self.shutdown.layer(child));
        let delayed = self.backoff.layer(self.policy.observe.layer(run));
        self.restart
            .layer(self.quarantine.layer(self.fuse.layer(delayed)))
    }
}
