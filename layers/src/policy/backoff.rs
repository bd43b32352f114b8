use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Jitter, bounded};

/// The curve a [`Backoff`] follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffKind {
    /// Always the initial delay.
    Constant,
    /// The initial delay, twice it, three times it.
    Linear,
    /// Multiplied by the factor at each failure in a row.
    Exponential {
        /// What the delay is multiplied with; 2 doubles it.
        factor: f64,
    },
    /// Anything between the initial delay and three times the previous one.
    Decorrelated,
}

/// How long to wait before the next run, by how often in a row the runs before it failed.
///
/// ```
/// use supervisor_layers::{Backoff, Jitter, ms, secs};
///
/// let backoff = Backoff::exponential(ms(100), secs(5)).jitter(Jitter::None);
/// let delays: Vec<_> = (1..=8).map(|n| backoff.delay(n, ms(0), 0.5).after_jitter.as_millis()).collect();
/// assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    kind: BackoffKind,
    #[serde(rename = "initial_ms", with = "crate::serde_millis")]
    initial: Duration,
    #[serde(rename = "max_ms", with = "crate::serde_millis")]
    max: Duration,
    jitter: Jitter,
    immediate_first: bool,
    #[serde(rename = "reset_after_ms", with = "crate::serde_millis")]
    reset_after: Duration,
    seed: Option<u64>,
}

/// One computed delay, before and after jitter; both capped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct BackoffDelay {
    /// What the curve says.
    #[serde(rename = "before_jitter_ms", with = "crate::serde_millis")]
    #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
    pub before_jitter: Duration,
    /// What is waited.
    #[serde(rename = "after_jitter_ms", with = "crate::serde_millis")]
    #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
    pub after_jitter: Duration,
}

impl Backoff {
    const DEFAULT_RESET_AFTER: Duration = Duration::from_secs(60);

    fn new(kind: BackoffKind, initial: Duration, max: Duration) -> Self {
        Self {
            kind,
            initial: bounded(initial),
            max: bounded(max.max(initial)),
            jitter: Jitter::default(),
            immediate_first: false,
            reset_after: Self::DEFAULT_RESET_AFTER,
            seed: None,
        }
    }

    /// The same delay after every failure.
    pub fn constant(delay: Duration) -> Self {
        Self::new(BackoffKind::Constant, delay, delay)
    }

    /// One more `initial` after every failure, up to `max`.
    pub fn linear(initial: Duration, max: Duration) -> Self {
        Self::new(BackoffKind::Linear, initial, max)
    }

    /// Doubling from `initial` up to `max`; see [`factor`](Self::factor).
    pub fn exponential(initial: Duration, max: Duration) -> Self {
        Self::new(BackoffKind::Exponential { factor: 2.0 }, initial, max)
    }

    /// A random delay between `initial` and three times the one before, up to `max`. Needs no further
    /// jitter and ignores it.
    pub fn decorrelated(initial: Duration, max: Duration) -> Self {
        Self::new(BackoffKind::Decorrelated, initial, max)
    }

    /// What an exponential delay is multiplied with at each failure; below 1 counts as 1. No effect on
    /// the other kinds.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        if let BackoffKind::Exponential { factor: f } = &mut self.kind {
            *f = if factor.is_finite() {
                factor.max(1.0)
            } else {
                1.0
            };
        }
        self
    }

    /// How the delay is spread; [`Jitter::Full`] unless said otherwise.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The first restart after a healthy time comes at once; the curve starts with the second.
    #[must_use]
    pub fn immediate_first(mut self) -> Self {
        self.immediate_first = true;
        self
    }

    /// A run that lasted this long was healthy: the next failure counts as the first again. Default 60 s.
    #[must_use]
    pub fn reset_after(mut self, healthy: Duration) -> Self {
        self.reset_after = healthy;
        self
    }

    /// Makes jitter repeatable: the same seed, child path and generation give the same delay.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The healthy time; see [`reset_after`](Self::reset_after).
    pub fn healthy_time(&self) -> Duration {
        self.reset_after
    }

    /// The seed, where one was given.
    pub fn given_seed(&self) -> Option<u64> {
        self.seed
    }

    /// The longest delay.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The delay after `failures` failures in a row (1 is the first), with `previous` the delay waited
    /// before and `unit` a random number in `0.0..1.0`.
    pub fn delay(&self, failures: u32, previous: Duration, unit: f64) -> BackoffDelay {
        let step = if self.immediate_first {
            failures.saturating_sub(1)
        } else {
            failures
        };
        if step == 0 {
            return BackoffDelay::default();
        }
        let initial = self.initial.as_secs_f64();
        let max = self.max.as_secs_f64();
        let (curve, jitter) = match self.kind {
            BackoffKind::Constant => (initial, self.jitter),
            BackoffKind::Linear => (initial * f64::from(step), self.jitter),
            BackoffKind::Exponential { factor } => {
                let exponent = i32::try_from(step - 1).unwrap_or(i32::MAX);
                // 0 times infinity would be no number.
                (initial * factor.powi(exponent).min(f64::MAX), self.jitter)
            }
            BackoffKind::Decorrelated => {
                let upper = (previous.as_secs_f64() * 3.0).max(initial);
                (initial + (upper - initial) * unit, Jitter::None)
            }
        };
        let curve = curve.min(max);
        BackoffDelay {
            before_jitter: self.capped(curve),
            after_jitter: self.capped(jitter.spread(curve, unit)),
        }
    }

    fn capped(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds.max(0.0))
            .unwrap_or(self.max)
            .min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn curve(backoff: Backoff) -> Vec<u128> {
        (1..=5)
            .map(|n| backoff.delay(n, ms(0), 0.0).before_jitter.as_millis())
            .collect()
    }

    #[test]
    fn each_kind_follows_its_curve() {
        assert_eq!(curve(Backoff::constant(ms(50))), [50, 50, 50, 50, 50]);
        assert_eq!(
            curve(Backoff::linear(ms(50), ms(180))),
            [50, 100, 150, 180, 180]
        );
        assert_eq!(
            curve(Backoff::exponential(ms(50), ms(500))),
            [50, 100, 200, 400, 500]
        );
        assert_eq!(
            curve(Backoff::exponential(ms(10), ms(500)).factor(3.0)),
            [10, 30, 90, 270, 500]
        );
    }

    #[test]
    fn a_delay_of_zero_stays_zero_however_often_it_is_doubled() {
        let delay = Backoff::exponential(ms(0), ms(500)).delay(5000, ms(0), 0.5);
        assert_eq!(delay, BackoffDelay::default());
    }

    #[test]
    fn the_first_restart_may_be_immediate() {
        assert_eq!(
            curve(Backoff::exponential(ms(50), ms(500)).immediate_first()),
            [0, 50, 100, 200, 400]
        );
    }

    #[test]
    fn decorrelated_grows_from_the_previous_delay() {
        let backoff = Backoff::decorrelated(ms(100), ms(1000));
        assert_eq!(backoff.delay(1, ms(0), 0.9).after_jitter, ms(100));
        assert_eq!(backoff.delay(2, ms(200), 0.5).after_jitter, ms(350));
        assert_eq!(backoff.delay(9, ms(900), 0.99).after_jitter, ms(1000));
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_the_cap_and_never_panics(
            failures: u32, initial in 0_u64..10_000, max in 0_u64..100_000, factor in -5.0..1e9_f64,
            previous in 0_u64..1_000_000, unit in 0.0..1.0_f64, ratio in 0.0..10.0_f64,
        ) {
            for kind in [Backoff::constant(ms(initial)), Backoff::linear(ms(initial), ms(max)),
                         Backoff::exponential(ms(initial), ms(max)).factor(factor),
                         Backoff::decorrelated(ms(initial), ms(max))] {
                for jitter in [Jitter::None, Jitter::Ratio(ratio), Jitter::Full, Jitter::Equal] {
                    let delay = kind.jitter(jitter).delay(failures, ms(previous), unit);
                    prop_assert!(delay.before_jitter <= kind.max());
                    prop_assert!(delay.after_jitter <= kind.max());
                }
            }
        }
    }
}
