use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::sync::Apart;

/// How many children that are being ended together still have a task.
#[derive(Debug, Default)]
pub(super) struct Ending {
    count: Apart<AtomicUsize>,
    none: Notify,
}

impl Ending {
    pub(super) fn enter(&self) {
        self.count.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        if self.count.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    /// Waits until none has one.
    pub(super) async fn none(&self) {
        loop {
            let none = self.none.notified();
            if self.count.0.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}
