use std::time::Duration;

use tower_layer::Layer;

use super::WatchdogService;
use crate::{
    ChildSettings,
    policy::{Nanos, bounded},
};

/// Liveness and start-up; see the [module](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchdogLayer {
    pub(super) stale_after: Option<Nanos>,
    pub(super) heartbeat_interval: Option<Nanos>,
    pub(super) start_timeout: Option<Nanos>,
}

impl WatchdogLayer {
    /// One that asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a ready run may go without a heartbeat.
    #[must_use]
    pub fn stale_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.stale_after = limit(time.into());
        self
    }

    /// How often a run is to beat, for the child to read from
    /// [`TaskContext::heartbeat_interval`](crate::TaskContext::heartbeat_interval); a third of
    /// `stale_after` unless said otherwise.
    #[must_use]
    pub fn heartbeat_interval(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.heartbeat_interval = time.into().map(Nanos::from);
        self
    }

    /// How long a run may take to become ready.
    #[must_use]
    pub fn start_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.start_timeout = limit(time.into());
        self
    }
}

impl WatchdogLayer {
    /// How long a run may take to become ready.
    pub fn start_limit(&self) -> Option<Duration> {
        self.start_timeout.map(Duration::from)
    }

    pub(crate) fn publish(&self, settings: &mut ChildSettings) {
        settings.stale_after = self.stale_after.map(Duration::from);
        settings.heartbeat_interval = settings.stale_after.map(|stale| {
            let interval = self.heartbeat_interval.map(Duration::from);
            interval.unwrap_or(stale / 3)
        });
        settings.start_timeout = self.start_limit();
    }
}

fn limit(time: Option<Duration>) -> Option<Nanos> {
    time.map(|time| bounded(time).into())
}

impl<S> Layer<S> for WatchdogLayer {
    type Service = WatchdogService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WatchdogService::new(inner, *self)
    }
}
