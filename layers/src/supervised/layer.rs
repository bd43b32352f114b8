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
    /// A fuse or a backoff has something to note.
    counts: bool,
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
            counts: policy.backoff.is_some() || policy.fuse.is_some(),
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

impl Layers {
    /// What there is to note at the end of a run, if anything is.
    pub(super) fn notes(self: &Arc<Self>) -> Option<Notes> {
        match (self.counts, self.quarantine) {
            (true, _) => Some(Notes::All(self.clone())),
            (false, quarantine) => quarantine.notes().then_some(Notes::Quarantine(quarantine)),
        }
    }
}

/// What layers note at the end of a run.
#[derive(Debug)]
pub enum Notes {
    /// All that note anything.
    All(Arc<Layers>),
    /// The only one that does: children of one policy that crash in a loop do not meet at its count.
    Quarantine(quarantine::Note),
}

/// From the inside out, as the layers would be laid.
impl AtEnd for Notes {
    fn at_end(&self, ctx: &TaskContext, ended: Ended) {
        match self {
            Self::All(layers) => {
                layers.backoff.at_end(ctx, ended);
                layers.fuse.at_end(ctx, ended);
                layers.quarantine.at_end(ctx, ended);
            }
            Self::Quarantine(quarantine) => quarantine.at_end(ctx, ended),
        }
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
