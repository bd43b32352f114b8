use std::time::Duration;

use tower_layer::Layer;

use super::ShutdownService;
use crate::policy::bounded;

/// A graceful stop with an end; see the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct ShutdownLayer {
    grace: Option<Duration>,
}

impl ShutdownLayer {
    /// A stopping run has this long.
    pub fn grace(grace: Duration) -> Self {
        Self {
            grace: Some(bounded(grace)),
        }
    }

    /// Does nothing: a stopping run ends when it likes.
    pub fn off() -> Self {
        Self { grace: None }
    }
}

impl<S> Layer<S> for ShutdownLayer {
    type Service = ShutdownService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ShutdownService::new(inner, self.grace)
    }
}
