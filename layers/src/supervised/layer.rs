use std::sync::Arc;

use tower_layer::Layer;
use tower_service::Service;

use super::{ChildPolicy, SupervisedService, service::SupervisedRuns};
use crate::{
    BoxError, ChildSettings, FuseLayer, ObserveLayer, QuarantineLayer, RestartType, ShutdownLayer,
    TaskContext, WatchdogLayer, backoff,
    context::Slot,
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
///
/// Cheap to clone: the children of one policy share one.
#[derive(Debug, Clone)]
pub struct SupervisedLayer {
    layers: Arc<Layers>,
}

/// The layers, one set for all the children that they are laid around.
#[derive(Debug)]
pub(crate) struct Layers {
    restart: RestartType,
    pub(super) backoff: backoff::Note,
    fuse: fuse::Note,
    quarantine: quarantine::Note,
    /// A fuse or a backoff has something to note.
    counts: bool,
    pub(super) observe: ObserveLayer,
    pub(super) watchdog: WatchdogLayer,
    pub(super) shutdown: ShutdownLayer,
    pub(crate) settings: Arc<ChildSettings>,
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
            restart: policy.restart,
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
            layers: Arc::new(layers),
        }
    }

    /// The one life of a service that is asked for no other, under these layers.
    pub fn life<S>(
        &self,
        child: S,
        ctx: TaskContext,
    ) -> <SupervisedService<S> as Service<TaskContext>>::Future
    where
        S: Service<TaskContext, Response = ()> + Clone,
        S::Error: Into<BoxError>,
    {
        let slot = ctx.slot();
        let known = slot.layer().map(Self::layers);
        let runs = match known.is_some_and(|known| Arc::ptr_eq(known, &self.layers)) {
            true => SupervisedRuns::of(slot.clone(), child),
            false => SupervisedRuns::new(child, self.layers.clone()),
        };
        RestartService::new(runs, self.layers.restart).into_life(ctx)
    }

    /// When the child runs again.
    pub fn restart(&self) -> RestartType {
        self.layers.restart
    }

    /// What the layers tell of themselves.
    pub fn settings(&self) -> &ChildSettings {
        &self.layers.settings
    }

    pub(crate) fn layers(&self) -> &Arc<Layers> {
        &self.layers
    }
}

impl Layers {
    /// What layers note at the end of a run: from the inside out, as they would be laid.
    pub(super) fn note(&self, ctx: &TaskContext, ended: Ended) {
        if self.counts {
            self.backoff.at_end(ctx, ended);
            self.fuse.at_end(ctx, ended);
        }
        self.quarantine.at_end(ctx, ended);
    }
}

/// Those that a run is under: its own, or those that its child has.
pub(super) fn layers<'a>(own: &'a Option<Arc<Layers>>, child: Option<&'a Slot>) -> &'a Arc<Layers> {
    match (own, child.and_then(Slot::layer)) {
        (Some(own), _) => own,
        (None, Some(layer)) => layer.layers(),
        (None, None) => unreachable!("it has its own, unless the child has them"),
    }
}

impl<S> Layer<S> for SupervisedLayer {
    type Service = SupervisedService<S>;

    fn layer(&self, child: S) -> Self::Service {
        RestartService::new(
            SupervisedRuns::new(child, self.layers.clone()),
            self.layers.restart,
        )
    }
}
