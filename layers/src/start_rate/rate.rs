use std::time::Duration;

/// Times at which starts may happen: a burst, then evenly (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Rate {
    burst: u32,
    interval: Duration,
    /// When the next start would be due if all came evenly, since the caller's origin.
    due: Duration,
    /// The start reserved last, and `due` before that.
    last: Option<(Duration, Duration)>,
}

impl Rate {
    pub(super) fn new(starts: u32, per: Duration) -> Self {
        let burst = starts.max(1);
        Self {
            burst,
            interval: per / burst,
            due: Duration::ZERO,
            last: None,
        }
    }

    /// Reserves the next start at `now` or later and tells when it is.
    pub(super) fn reserve(&mut self, now: Duration) -> Duration {
        let due = self.due.max(now);
        let start = now.max(due.saturating_sub(self.interval * (self.burst - 1)));
        self.last = Some((start, self.due));
        self.due = due + self.interval;
        start
    }

    /// Gives a start back that came to nothing, if nobody has reserved another since: those after it would
    /// not come the earlier, and one more could come with them.
    pub(super) fn give_back(&mut self, start: Duration) {
        if self.last.is_some_and(|(last, _)| last == start)
            && let Some((_, before)) = self.last.take()
        {
            self.due = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_and_the_rest_comes_evenly() {
        let mut rate = Rate::new(3, Duration::from_millis(300));
        let at: Vec<_> = (0..6)
            .map(|_| rate.reserve(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(at, [0, 0, 0, 100, 200, 300]);
    }

    proptest! {
        #[test]
        fn no_window_of_one_period_sees_more_than_twice_the_starts(
            starts in 1_u32..8, steps in prop::collection::vec(0_u64..80, 1..60),
        ) {
            let per = Duration::from_millis(u64::from(starts) * 10);
            let (mut rate, mut now, mut at) = (Rate::new(starts, per), Duration::ZERO, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                let start = rate.reserve(now);
                prop_assert!(start >= now);
                at.push(start);
            }
            for (first, from) in at.iter().enumerate() {
                let within = at[first..].iter().filter(|&&t| t - *from < per).count();
                prop_assert!(within < 2 * starts as usize);
            }
        }
    }
}
