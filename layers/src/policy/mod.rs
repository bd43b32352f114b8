//! What the layers obey: pure data and pure functions.
//!
//! Nothing here knows tokio or a clock. Time comes in as a [`Duration`](std::time::Duration) since an
//! origin of the caller's choice, randomness as a number in `0.0..1.0`, so every rule can be tested as a
//! table and with generated input.

mod backoff;
mod fuse;
mod jitter;
mod restart;

pub use backoff::{Backoff, BackoffDelay, BackoffKind};
pub use fuse::{FuseLimit, FuseReading, SlidingLog};
pub use jitter::{Jitter, unit_random};
pub use restart::{ExitFacts, RestartAction, RestartDecision, RestartType, decide};
