use std::time::Duration;

use tower_layer::Layer;

use super::{Note, QuarantineService};
use crate::{
    ChildSettings,
    policy::{Nanos, bounded},
};

/// A hold in the place of giving up; see the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct QuarantineLayer {
    /// For how long; `Nanos::MAX` until released.
    pub(super) hold: Option<Nanos>,
}

impl QuarantineLayer {
    /// Held until somebody releases the child.
    pub fn until_released() -> Self {
        Self {
            hold: Some(Nanos::MAX),
        }
    }

    /// Held until somebody releases the child, or this long.
    pub fn release_after(time: Duration) -> Self {
        Self {
            hold: Some(bounded(time).into()),
        }
    }

    /// Does nothing: a blown fuse ends the child's life.
    pub fn off() -> Self {
        Self { hold: None }
    }

    pub(crate) fn note(self) -> Note {
        Note { hold: self.hold }
    }

    pub(crate) fn publish(&self, settings: &mut ChildSettings) {
        if let Some(hold) = self.hold {
            settings.quarantine = Some(release_after(hold));
        }
    }
}

/// `None`: until somebody releases the child.
pub(super) fn release_after(hold: Nanos) -> Option<Duration> {
    (hold != Nanos::MAX).then(|| hold.into())
}

impl<S> Layer<S> for QuarantineLayer {
    type Service = QuarantineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        QuarantineService::new(inner, *self)
    }
}
