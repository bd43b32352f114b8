use crate::{
    StopCause,
    sync::{AtomicU64, Ordering},
};

/// Generation and stop cause of the current run in one word, so that `is_cancelled` takes no lock.
/// Written with the control locked.
///
/// Released and acquired: whoever sees the stop sees what its stopper had done before it. `tests/loom.rs`
/// shows that, that no reader takes one run's cause for another's, that a run once stopped never runs
/// again, and that who registers before reading is woken.
pub(crate) struct StopWord(AtomicU64);

impl StopWord {
    /// The low bits: 0 runs, a [`StopCause`], or this.
    const OVER: u64 = 0xF;
    const CAUSE_BITS: u32 = 4;

    /// Of a run that has ended, or of none.
    pub(crate) fn new(generation: u64) -> Self {
        Self(AtomicU64::new(generation << Self::CAUSE_BITS | Self::OVER))
    }

    pub(crate) fn runs(&self, generation: u64) {
        self.store(generation, 0);
    }

    pub(crate) fn stops(&self, generation: u64, cause: StopCause) {
        self.store(generation, cause as u64);
    }

    pub(crate) fn over(&self, generation: u64) {
        self.store(generation, Self::OVER);
    }

    fn store(&self, generation: u64, bits: u64) {
        self.0
            .store(generation << Self::CAUSE_BITS | bits, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self, generation: u64) -> bool {
        self.0.load(Ordering::Acquire) != generation << Self::CAUSE_BITS
    }

    pub(crate) fn cause(&self, generation: u64) -> Option<StopCause> {
        let word = self.0.load(Ordering::Acquire);
        (word >> Self::CAUSE_BITS == generation)
            .then(|| StopCause::from_bits(word & Self::OVER))
            .flatten()
    }
}
