use std::{fmt, num::NonZeroU64, time::Duration};

/// A duration in one word, whether there is one or not: every run holds several. More than 580 years are as
/// good as that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(NonZeroU64);

impl Nanos {
    /// None at all.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// As good as for ever.
    pub(crate) const MAX: Self = Self(NonZeroU64::MAX);

    /// Both, one after the other.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        // One of the two ones that are on top.
        Self(self.0.saturating_add(other.0.get() - 1))
    }

    /// How much longer than the other; nothing, if it is shorter.
    pub fn saturating_sub(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(other.0.get()))
    }

    /// In nanoseconds.
    pub fn get(self) -> u64 {
        self.0.get() - 1
    }
}

impl From<Duration> for Nanos {
    fn from(time: Duration) -> Self {
        let secs = time.as_secs().saturating_mul(1_000_000_000);
        let nanos = secs.saturating_add(u64::from(time.subsec_nanos()));
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.get())
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_one_word_and_saturates() {
        assert_eq!(size_of::<Option<Nanos>>(), 8);
        assert_eq!(Nanos::from(Duration::MAX), Nanos::MAX);
        assert_eq!(Nanos::MAX.saturating_add(Nanos::MAX), Nanos::MAX);
    }

    proptest! {
        #[test]
        fn counts_as_a_duration_does(a in 0..1_u64 << 62, b in 0..1_u64 << 62) {
            let (long, short) = (Duration::from_nanos(a), Duration::from_nanos(b));
            let (a, b) = (Nanos::from(long), Nanos::from(short));
            prop_assert_eq!(Duration::from(a), long);
            prop_assert_eq!(Duration::from(a.saturating_add(b)), long + short);
            prop_assert_eq!(a.saturating_sub(b), long.saturating_sub(short));
            prop_assert_eq!(a < b, long < short);
        }
    }
}
