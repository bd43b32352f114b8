use tower_layer::Layer;

use super::RestartService;
use crate::RestartType;

/// Runs a child again after an exit, by its restart type; see the [module](super).
#[derive(Debug, Clone, Copy, Default)]
pub struct RestartLayer {
    restart: RestartType,
}

impl RestartLayer {
    /// For a child of this restart type.
    pub fn new(restart: RestartType) -> Self {
        Self { restart }
    }

    /// Runs again whatever the exit.
    pub fn permanent() -> Self {
        Self::new(RestartType::Permanent)
    }

    /// Runs again unless it completed.
    pub fn transient() -> Self {
        Self::new(RestartType::Transient)
    }

    /// Never runs again.
    pub fn temporary() -> Self {
        Self::new(RestartType::Temporary)
    }
}

impl<S> Layer<S> for RestartLayer {
    type Service = RestartService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RestartService::new(inner, self.restart)
    }
}
