use std::time::Duration;

use crate::{
    ObserveLayer, WatchdogLayer,
    policy::{Backoff, FuseLimit, Jitter, RestartType},
};

/// What the layers of the whole stack are set to. Every default of the default stack stands here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChildPolicy {
    /// When the child runs again.
    pub restart: RestartType,
    /// How long a blown fuse holds it: `None` gives it up, `Some(None)` holds it until released.
    pub quarantine: Option<Option<Duration>>,
    /// How many failures pass.
    pub fuse: Option<FuseLimit>,
    /// How long it waits before the next run.
    pub backoff: Option<Backoff>,
    /// What is observed.
    pub observe: ObserveLayer,
    /// Liveness and start-up.
    pub watchdog: WatchdogLayer,
    /// How long a stopping run has; `None` leaves it to whoever stops it.
    pub grace: Option<Duration>,
}

impl Default for ChildPolicy {
    /// Permanent; 10 failures in 60 s, then quarantine until released; 100 ms doubling to 5 s, spread by
    /// 10 %; 30 s to become ready; 1 s for a poll until it is reported; 5 s to stop.
    fn default() -> Self {
        Self {
            restart: RestartType::Permanent,
            quarantine: Some(None),
            fuse: Some(FuseLimit {
                failures: 10,
                window: Duration::from_secs(60),
            }),
            backoff: Some(
                Backoff::exponential(Duration::from_millis(100), Duration::from_secs(5))
                    .jitter(Jitter::Ratio(0.1)),
            ),
            observe: ObserveLayer::new(),
            watchdog: WatchdogLayer::new().start_timeout(Duration::from_secs(30)),
            grace: Some(Duration::from_secs(5)),
        }
    }
}

impl ChildPolicy {
    /// Restarts only: no fuse, no backoff, no quarantine, no grace of its own. What a nested supervisor has.
    pub fn bare(restart: RestartType) -> Self {
        Self {
            restart,
            quarantine: None,
            fuse: None,
            backoff: None,
            observe: ObserveLayer::new(),
            watchdog: WatchdogLayer::new(),
            grace: None,
        }
    }
}
