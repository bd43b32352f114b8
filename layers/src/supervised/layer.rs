use std::sync::Arc;

use tower_layer::Layer;

use super::ChildPolicy;
use crate::{
    Backoff, ChildSettings, FuseLayer, QuarantineLayer, RestartLayer, ShutdownLayer,
    backoff::BackoffService, fuse::FuseService, observe::ObserveService,
    quarantine::QuarantineService, restart::RestartService, shutdown::ShutdownService,
    watchdog::WatchdogService,
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
    /// One for all the children that the layer is laid around.
    backoff: Option<Arc<Backoff>>,
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
            backoff: policy.backoff.map(Arc::new),
            shutdown: policy
                .grace
                .map_or_else(ShutdownLayer::off, ShutdownLayer::grace),
            policy,
        }
    }

    /// What the layers will tell of themselves at a child's first run.
    pub fn settings(&self) -> ChildSettings {
        let mut settings = ChildSettings {
            restart: Some(self.policy.restart),
            fuse: self.policy.fuse,
            backoff: self.policy.backoff,
            ..ChildSettings::default()
        };
        self.quarantine.publish(&mut settings);
        self.policy.watchdog.publish(&mut settings);
        self.shutdown.publish(&mut settings);
        settings
    }
}

impl<S> Layer<S> for SupervisedLayer {
    type Service = SupervisedService<S>;

    fn layer(&self, child: S) -> Self::Service {
        let run = self.policy.watchdog.layer(self.shutdown.layer(child));
        let observed = self.policy.observe.layer(run);
        let delayed = BackoffService::new(observed, self.backoff.clone());
        self.restart
            .layer(self.quarantine.layer(self.fuse.layer(delayed)))
    }
}
