use std::time::Duration;

use tower_layer::Layer;

use super::QuarantineService;
use crate::policy::bounded;

/// A hold in the place of giving up; see the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct QuarantineLayer {
    release_after: Option<Option<Duration>>,
}

impl QuarantineLayer {
    /// Held until somebody releases the child.
    pub fn until_released() -> Self {
        Self {
            release_after: Some(None),
        }
    }

    /// Held until somebody releases the child, or this long.
    pub fn release_after(time: Duration) -> Self {
        Self {
            release_after: Some(Some(bounded(time))),
        }
    }

    /// Does nothing: a blown fuse ends the child's life.
    pub fn off() -> Self {
        Self {
            release_after: None,
        }
    }
}

impl<S> Layer<S> for QuarantineLayer {
    type Service = QuarantineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        QuarantineService::new(inner, self.release_after)
    }
}
