use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::super::PollStatistics;

/// How a child's runs were polled. Counted at every poll, so no lock is taken; and by whoever polls alone, of
/// whom there is one at a time.
#[derive(Default)]
pub(super) struct Polls {
    count: AtomicU64,
    slow: AtomicU64,
    busy_nanos: AtomicU64,
    longest_nanos: AtomicU64,
}

impl Polls {
    pub(super) fn note(&self, nanos: u64, slow: bool) {
        add(&self.count, 1);
        add(&self.busy_nanos, nanos);
        if nanos > self.longest_nanos.load(Ordering::Relaxed) {
            self.longest_nanos.store(nanos, Ordering::Relaxed);
        }
        if slow {
            add(&self.slow, 1);
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

/// Nobody else writes meanwhile.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
