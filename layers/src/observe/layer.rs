use std::time::Duration;

use tower_layer::Layer;

use super::ObserveService;
use crate::policy::Nanos;

/// Observation of one child; see the [module](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObserveLayer {
    pub(super) metrics: bool,
    pub(super) poll_statistics: bool,
    pub(super) slow_poll: Nanos,
    pub(super) stuck_after: Option<Nanos>,
}

impl ObserveLayer {
    /// A poll that takes longer than this blocks its worker thread noticeably.
    const SLOW_POLL: Duration = Duration::from_millis(100);
    /// Ten times that: no busy machine's scheduling takes so long, and whoever waits for this worker thread
    /// has not yet given up.
    const STUCK_AFTER: Duration = Duration::from_secs(1);

    /// With everything on.
    pub fn new() -> Self {
        Self {
            metrics: true,
            poll_statistics: true,
            slow_poll: Self::SLOW_POLL.into(),
            stuck_after: Some(Self::STUCK_AFTER.into()),
        }
    }

    /// Whether metrics are counted.
    #[must_use]
    pub fn metrics(mut self, on: bool) -> Self {
        self.metrics = on;
        self
    }

    /// Whether polls are counted and timed: two readings of the clock per poll.
    #[must_use]
    pub fn poll_statistics(mut self, on: bool) -> Self {
        self.poll_statistics = on;
        self
    }

    /// From when on a poll counts as slow; 100 ms unless said otherwise.
    #[must_use]
    pub fn slow_poll(mut self, threshold: Duration) -> Self {
        self.slow_poll = threshold.into();
        self
    }

    /// How long a poll may run before it is reported while it still does; 1 s unless said otherwise, `None`
    /// for never. Noticed within a quarter more.
    #[must_use]
    pub fn stuck_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.stuck_after = time.into().map(Nanos::from);
        self
    }
}

impl Default for ObserveLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = ObserveService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveService::new(inner, *self)
    }
}
