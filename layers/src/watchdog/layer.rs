use std::time::Duration;

use tower_layer::Layer;

use super::WatchdogService;
use crate::policy::bounded;

/// Liveness and start-up; see the [module](super).
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchdogLayer {
    pub(super) stale_after: Option<Duration>,
    pub(super) heartbeat_interval: Option<Duration>,
    pub(super) start_timeout: Option<Duration>,
}

impl WatchdogLayer {
    /// One that asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a ready run may go without a heartbeat.
    #[must_use]
    pub fn stale_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.stale_after = time.into().map(bounded);
        self
    }

    /// How often a run is to beat, for the child to read from
    /// [`TaskContext::heartbeat_interval`](crate::TaskContext::heartbeat_interval); a third of
    /// `stale_after` unless said otherwise.
    #[must_use]
    pub fn heartbeat_interval(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.heartbeat_interval = time.into();
        self
    }

    /// How long a run may take to become ready.
    #[must_use]
    pub fn start_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.start_timeout = time.into().map(bounded);
        self
    }
}

impl WatchdogLayer {
    /// How long a run may take to become ready.
    pub fn start_limit(&self) -> Option<Duration> {
        self.start_timeout
    }
}

impl<S> Layer<S> for WatchdogLayer {
    type Service = WatchdogService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WatchdogService::new(inner, *self)
    }
}
