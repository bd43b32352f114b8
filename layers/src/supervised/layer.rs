use std::sync::Arc;

use tower_layer::Layer;

use super::{ChildPolicy, SupervisedService, service::SupervisedRuns};
use crate::{
    ChildSettings, FuseLayer, ObserveLayer, QuarantineLayer, RestartType, ShutdownLayer,
    TaskContext, WatchdogLayer, backoff,
    ended::{AtEnd, Ended},
    fuse, quarantine,
    restart::RestartService,
};

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
    restart: RestartType,
    layers: Arc<Layers>,
}

/// The layers below the restart, one set for all the children that they are laid around.
#[derive(Debug)]
pub struct Layers {
    pub(super) backoff: backoff::Note,
    fuse: fuse::Note,
    quarantine: quarantine::Note,
    /// One of the three above has something to note.
    pub(super) notes: bool,
    pub(super) observe: ObserveLayer,
    pub(super) watchdog: WatchdogLayer,
    pub(super) shutdown: ShutdownLayer,
    pub(super) settings: Arc<ChildSettings>,
}

impl SupervisedLayer {
    /// As the policy says.
    pub fn new(policy: ChildPolicy) -> Self {
        let quarantine = match policy.quarantine {
            Some(Some(time)) => QuarantineLayer::release_after(time),
            Some(None) => QuarantineLayer::until_released(),
            None => QuarantineLayer::off(),
        };
        let shutdown = policy
            .grace
            .map_or_else(ShutdownLayer::off, ShutdownLayer::grace);
        let mut settings = ChildSettings {
            restart: Some(policy.restart),
            fuse: policy.fuse,
            backoff: policy.backoff,
            ..ChildSettings::default()
        };
        quarantine.publish(&mut settings);
        policy.watchdog.publish(&mut settings);
        shutdown.publish(&mut settings);
        let layers = Layers {
            backoff: backoff::Note::new(policy.backoff.map(Arc::new)),
            fuse: FuseLayer::limit(policy.fuse).note(),
            quarantine: quarantine.note(),
            notes: policy.backoff.is_some() || policy.fuse.is_some() || policy.quarantine.is_some(),
            observe: policy.observe,
            watchdog: policy.watchdog,
            shutdown,
            settings: Arc::new(settings),
        };
        Self {
            restart: policy.restart,
            layers: Arc::new(layers),
        }
    }

    /// What the layers tell of themselves.
    pub fn settings(&self) -> &Arc<ChildSettings> {
        &self.layers.settings
    }
}

/// From the inside out, as the layers would be laid.
impl AtEnd for Arc<Layers> {
    fn at_end(&self, ctx: &TaskContext, ended: Ended) {
        self.backoff.at_end(ctx, ended);
        self.fuse.at_end(ctx, ended);
        self.quarantine.at_end(ctx, ended);
    }
}

impl<S> Layer<S> for SupervisedLayer {
    type Service = SupervisedService<S>;

    fn layer(&self, child: S) -> Self::Service {
        RestartService::new(
            SupervisedRuns::new(child, self.layers.clone()),
            self.restart,
        )
    }
}
