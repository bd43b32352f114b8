use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::Nanos;

/// At most `failures` within `window` pass; one more is too many. OTP's intensity and period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct FuseLimit {
    /// How many pass. 0: the first is already too many. `u32::MAX`: all do.
    pub failures: u32,
    /// How long one counts.
    #[serde(rename = "window_ms", with = "crate::serde_millis")]
    #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
    pub window: Duration,
}

impl FuseLimit {
    /// So many failures are never too many, and none of them is counted.
    pub const UNLIMITED: u32 = u32::MAX;

    /// Whether there is anything to count.
    pub fn is_limited(&self) -> bool {
        self.failures != Self::UNLIMITED
    }
}

/// What a limit reads after one more was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct FuseReading {
    /// How many lie within the window now.
    pub used: u32,
    /// The limit they are held against.
    pub limit: FuseLimit,
    /// Whether they are too many.
    pub blown: bool,
}

/// The times of the last failures: amortised constant time and never more than `limit + 1` entries.
#[derive(Debug, Clone, Default)]
pub struct SlidingLog {
    times: VecDeque<Nanos>,
}

impl SlidingLog {
    /// Counts one at `now` and reads the limit.
    ///
    /// As OTP: one exactly `window` old still counts.
    pub fn charge(&mut self, limit: FuseLimit, now: impl Into<Nanos>) -> FuseReading {
        if !limit.is_limited() {
            return FuseReading {
                used: 0,
                limit,
                blown: false,
            };
        }
        let now = now.into();
        self.expire(limit, now);
        self.times.push_back(now);
        let used = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        if used > limit.failures.saturating_add(1) {
            self.times.pop_front();
        }
        FuseReading {
            used: used.min(limit.failures.saturating_add(1)),
            limit,
            blown: used > limit.failures,
        }
    }

    /// How many lie within the window at `now`, without counting one.
    pub fn used(&mut self, limit: FuseLimit, now: impl Into<Nanos>) -> u32 {
        self.expire(limit, now.into());
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.times.clear();
    }

    fn expire(&mut self, limit: FuseLimit, now: Nanos) {
        let window = Nanos::from(limit.window).get();
        while self
            .times
            .front()
            .is_some_and(|then| now.get().saturating_sub(then.get()) > window)
        {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(failures: u32, window: u64) -> FuseLimit {
        FuseLimit {
            failures,
            window: Duration::from_millis(window),
        }
    }

    #[test]
    fn n_pass_and_one_more_blows() {
        let mut log = SlidingLog::default();
        let blown: Vec<_> = (0..4)
            .map(|t| log.charge(limit(3, 100), Duration::from_millis(t)).blown)
            .collect();
        assert_eq!(blown, [false, false, false, true]);
    }

    #[test]
    fn zero_lets_nothing_pass() {
        assert!(
            SlidingLog::default()
                .charge(limit(0, 100), Duration::ZERO)
                .blown
        );
    }

    #[test]
    fn what_is_unlimited_takes_no_memory() {
        let mut log = SlidingLog::default();
        for t in 0..100 {
            let reading = log.charge(limit(FuseLimit::UNLIMITED, 100), Duration::from_millis(t));
            assert_eq!((reading.used, reading.blown), (0, false));
        }
        assert_eq!(log.times.capacity(), 0);
    }

    proptest! {
        /// Against the obvious model: keep everything, count what is within the window.
        #[test]
        fn agrees_with_counting_all_times(
            failures in 0_u32..6, window in 0_u64..50, steps in prop::collection::vec(0_u64..20, 0..60),
        ) {
            let limit = limit(failures, window);
            let mut log = SlidingLog::default();
            let (mut all, mut now) = (Vec::new(), 0);
            for step in steps {
                now += step;
                all.push(now);
                let within = all.iter().filter(|&&t| now - t <= window).count() as u32;
                let reading = log.charge(limit, Duration::from_millis(now));
                prop_assert_eq!(reading.blown, within > failures);
                prop_assert_eq!(reading.used, within.min(failures + 1));
                prop_assert!(log.times.len() <= failures as usize + 1);
            }
        }
    }
}
