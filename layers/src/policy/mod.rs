//! What the layers obey: pure data and pure functions.
//!
//! Nothing here knows tokio or a clock. Time comes in as a [`Duration`] since an
//! origin of the caller's choice, randomness as a number in `0.0..1.0`, so every rule can be tested as a
//! table and with generated input.

mod backoff;
mod fuse;
mod jitter;
mod nanos;
mod restart;

use std::time::Duration;

pub use backoff::{Backoff, BackoffDelay, BackoffKind};
pub use fuse::{FuseLimit, FuseReading, SlidingLog};
pub use jitter::{Jitter, unit_random};
pub use nanos::Nanos;
pub use restart::{ExitFacts, RestartAction, RestartDecision, RestartType, decide};

/// As good as for ever, and still a time that can be added to any clock.
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// `Duration::MAX` is what people write for "no limit"; a clock cannot be asked for it.
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(FOR_EVER)
}
