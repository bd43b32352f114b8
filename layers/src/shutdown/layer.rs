use std::time::Duration;

use tower_layer::Layer;

use super::ShutdownService;
use crate::{
    ChildSettings,
    policy::{Nanos, bounded},
};

/// A graceful stop with an end; see the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct ShutdownLayer {
    pub(super) grace: Option<Nanos>,
}

impl ShutdownLayer {
    /// A stopping run has this long.
    pub fn grace(grace: Duration) -> Self {
        Self {
            grace: Some(bounded(grace).into()),
        }
    }

    /// Does nothing: a stopping run ends when it likes.
    pub fn off() -> Self {
        Self { grace: None }
    }

    pub(crate) fn publish(&self, settings: &mut ChildSettings) {
        if let Some(grace) = self.grace {
            settings.grace = Some(grace.into());
        }
    }
}

impl<S> Layer<S> for ShutdownLayer {
    type Service = ShutdownService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ShutdownService::new(inner, *self)
    }
}
