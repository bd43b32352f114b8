use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tower_layer::Layer;

use super::{StartRateService, rate::Rate};
use crate::policy::bounded;

/// A limit on starts, shared by its clones; see the [module](super).
#[derive(Debug, Clone)]
pub struct StartRateLayer {
    origin: Instant,
    rate: Arc<Mutex<Rate>>,
}

impl StartRateLayer {
    /// At most `starts` at once, then evenly so many per period. 0 counts as 1.
    pub fn new(starts: u32, per: Duration) -> Self {
        Self {
            origin: Instant::now(),
            rate: Arc::new(Mutex::new(Rate::new(starts, bounded(per)))),
        }
    }

    pub(super) fn reserve(&self) -> Instant {
        let now = self.origin.elapsed();
        self.origin + self.rate().reserve(now)
    }

    pub(super) fn give_back(&self, start: Instant) {
        self.rate().give_back(start - self.origin);
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for StartRateLayer {
    type Service = StartRateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StartRateService::new(inner, self.clone())
    }
}
