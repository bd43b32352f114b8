use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::super::PollStatistics;

/// How a child's runs were polled. Counted at every poll, so no lock is taken.
#[derive(Default)]
pub(super) struct Polls {
    count: AtomicU64,
    slow: AtomicU64,
    busy_nanos: AtomicU64,
    longest_nanos: AtomicU64,
}

impl Polls {
    pub(super) fn note(&self, nanos: u64, slow: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.busy_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        if slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> PollStatistics {
        PollStatistics {
            polls: self.count.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest_nanos.load(Ordering::Relaxed)),
        }
    }
}
