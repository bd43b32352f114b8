use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::policy::{FuseLimit, FuseReading, SlidingLog};

/// One fuse for several children: each clone counts into the same window.
///
/// It belongs to whoever made it: the release of one child does not reset what all of them share, only
/// [`reset`](Self::reset) does.
///
/// ```
/// use supervisor_layers::{Fuse, FuseLayer, secs};
///
/// let upstream = Fuse::new(10, secs(60));
/// let reader = FuseLayer::shared(upstream.clone());
/// let writer = FuseLayer::shared(upstream); // ten failures of both together
/// ```
#[derive(Debug, Clone)]
pub struct Fuse {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: FuseLimit,
    origin: Instant,
    log: Mutex<SlidingLog>,
}

impl Fuse {
    /// At most `failures` within `window`.
    pub fn new(failures: u32, window: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit: FuseLimit { failures, window },
                origin: Instant::now(),
                log: Mutex::default(),
            }),
        }
    }

    /// What it lets pass.
    pub fn limit(&self) -> FuseLimit {
        self.shared.limit
    }

    /// Counts one failure now.
    pub fn charge(&self) -> FuseReading {
        self.log()
            .charge(self.shared.limit, self.shared.origin.elapsed())
    }

    /// Forgets what was counted.
    pub fn reset(&self) {
        self.log().clear();
    }

    fn log(&self) -> std::sync::MutexGuard<'_, SlidingLog> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
