use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Since when the poll now running has been running, and whether the monitor looks at it, in one word.
///
/// Stored twice per poll by whoever polls the run, read now and then by the monitor. What the two agree on
/// is this word alone, and what depends on its value before is a compare-and-exchange: so all of it is
/// relaxed. `tests/loom.rs` shows that a child is in the monitor's list once whenever a run of it is
/// watched, and that a poll is reported at most once and not after its end.
///
/// Times are nanoseconds on the real clock.
#[derive(Default)]
pub(crate) struct PollWord(AtomicU64);

/// How a run came to be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The monitor has to be told of the child.
    New,
    /// The monitor still knows the child from a run before.
    Known,
    /// A layer further out watches the run already.
    Taken,
}

impl PollWord {
    /// No run is watched, and the monitor does not know the child.
    const UNKNOWN: u64 = 0;
    /// No run is watched; the monitor has yet to forget the child.
    const OVER: u64 = 1;
    /// A run is watched, and is not being polled.
    const IDLE: u64 = 2;
    /// Above these bits is when the poll began; never 0.
    const FLAGS: u32 = 2;
    /// The poll was reported.
    const REPORTED: u64 = 1;

    /// A run is watched from now on.
    pub(crate) fn watch(&self) -> Watch {
        loop {
            let (before, watch) = match self.load() {
                Self::UNKNOWN => (Self::UNKNOWN, Watch::New),
                Self::OVER => (Self::OVER, Watch::Known),
                _ => return Watch::Taken,
            };
            // Against the monitor, which may be forgetting the child.
            if self.change(before, Self::IDLE) {
                return watch;
            }
        }
    }

    /// The run is over; said by whoever watches it.
    pub(crate) fn over(&self) {
        self.store(Self::OVER);
    }

    /// Whether the monitor may know the child.
    pub(crate) fn is_known(&self) -> bool {
        self.load() != Self::UNKNOWN
    }

    /// A poll of the watched run begins.
    pub(crate) fn begins(&self, now: u64) {
        self.store(now.max(1) << Self::FLAGS);
    }

    /// It has returned.
    pub(crate) fn ends(&self) {
        self.store(Self::IDLE);
    }

    /// The monitor forgets the child, if no run of it is watched.
    pub(crate) fn forget(&self) -> bool {
        self.load() == Self::OVER && self.change(Self::OVER, Self::UNKNOWN)
    }

    /// How long the poll now running has lasted, if that is too long and was not reported.
    pub(crate) fn overdue(&self, now: u64, after: Duration) -> Option<Duration> {
        self.overdue_word(now, after).map(|(_, lasts)| lasts)
    }

    /// The same, reported now.
    pub(crate) fn report(&self, now: u64, after: Duration) -> Option<Duration> {
        let (word, lasts) = self.overdue_word(now, after)?;
        // Against the poll, which may be ending.
        self.change(word, word | Self::REPORTED).then_some(lasts)
    }

    fn overdue_word(&self, now: u64, after: Duration) -> Option<(u64, Duration)> {
        let word = self.load();
        if word & Self::REPORTED != 0 {
            return None;
        }
        let lasts = now.checked_sub(Self::began(word)?)?;
        let lasts = Duration::from_nanos(lasts);
        (lasts >= after).then_some((word, lasts))
    }

    /// Since when the poll now running has been running, if it was reported.
    pub(crate) fn stuck_since(&self) -> Option<u64> {
        let word = self.load();
        Self::began(word).filter(|_| word & Self::REPORTED != 0)
    }

    fn began(word: u64) -> Option<u64> {
        Some(word >> Self::FLAGS).filter(|&began| began != 0)
    }

    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn store(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
