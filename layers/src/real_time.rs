//! The real clock, for what happens within a poll: a virtual one stands still meanwhile.

use std::{sync::LazyLock, time::Instant};

use crate::policy::Nanos;

/// A moment, in nanoseconds since the process first asked for one: it fits into an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn now() -> Self {
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        let first = *FIRST;
        Self(Nanos::from(Instant::now().saturating_duration_since(first)).get())
    }

    pub(crate) fn at(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// In nanoseconds.
    pub(crate) fn elapsed(self) -> u64 {
        Self::now().0.saturating_sub(self.0)
    }
}
