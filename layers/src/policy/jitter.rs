use serde::{Deserialize, Serialize};

/// How a computed delay is spread, so that children that failed together do not return together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// The delay as computed.
    None,
    /// Up to this share of the delay more or less: `Ratio(0.1)` is ±10 %.
    Ratio(f64),
    /// Anything from zero to the delay.
    #[default]
    Full,
    /// Half the delay, and anything up to the other half.
    Equal,
}

impl Jitter {
    /// Spreads `seconds` with a random number `unit` in `0.0..1.0`.
    pub fn spread(self, seconds: f64, unit: f64) -> f64 {
        match self {
            Self::None => seconds,
            Self::Ratio(ratio) => seconds * (1.0 + ratio * (2.0 * unit - 1.0)),
            Self::Full => seconds * unit,
            Self::Equal => seconds * (0.5 + 0.5 * unit),
        }
    }
}

/// A number in `0.0..1.0` that depends on nothing but its arguments (SplitMix64's finaliser).
///
/// The layers pass a child's seed and a run's generation: jitter then differs between children and
/// between attempts, and repeats under the same seed.
pub fn unit_random(seed: u64, generation: u64) -> f64 {
    let mut z = seed.wrapping_add(generation.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_mode_stays_within_its_bounds(seconds in 0.0..1e6_f64, seed: u64, generation: u64, ratio in 0.0..1.0_f64) {
            let unit = unit_random(seed, generation);
            prop_assert!((0.0..1.0).contains(&unit));
            prop_assert_eq!(Jitter::None.spread(seconds, unit), seconds);
            prop_assert!((0.0..=seconds).contains(&Jitter::Full.spread(seconds, unit)));
            prop_assert!((seconds / 2.0..=seconds).contains(&Jitter::Equal.spread(seconds, unit)));
            let spread = Jitter::Ratio(ratio).spread(seconds, unit);
            prop_assert!(spread >= seconds * (1.0 - ratio) - 1e-6 && spread <= seconds * (1.0 + ratio) + 1e-6);
        }
    }

    #[test]
    fn numbers_differ_between_children_and_between_attempts() {
        assert_ne!(unit_random(1, 1), unit_random(2, 1));
        assert_ne!(unit_random(1, 1), unit_random(1, 2));
        assert_eq!(unit_random(7, 7), unit_random(7, 7));
    }
}
