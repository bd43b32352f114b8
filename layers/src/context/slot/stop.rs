use std::time::Duration;

use tokio::time::Instant;

use super::{super::StopRequest, Slot};
use crate::{StopCause, policy::Nanos};

/// A pending stop of a run: why, and when the run will be dropped. Times are since the slot's origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stop {
    pub(super) cause: StopCause,
    asked: Nanos,
    /// Somebody stopped it before.
    raised: bool,
    deadline: Option<Nanos>,
    cap: Option<Nanos>,
}

impl Stop {
    pub(super) fn new(slot: &Slot, cause: StopCause, asked: Nanos, request: &StopRequest) -> Self {
        Self {
            cause,
            asked,
            raised: false,
            deadline: request.deadline.map(|at| slot.since_origin(at)),
            cap: request.cap.map(|at| slot.since_origin(at)),
        }
    }

    /// A second stopper can only raise the cause and shorten what is left.
    pub(super) fn raise(&mut self, other: Self) {
        self.cause = self.cause.max(other.cause);
        self.raised = true;
        self.deadline = earlier(self.deadline, other.deadline);
        self.cap = earlier(self.cap, other.cap);
    }

    /// When it was asked for, if nobody had before.
    pub(super) fn asked_once(&self) -> Option<Nanos> {
        (!self.raised).then_some(self.asked)
    }

    /// The grace or the stopper's deadline, whichever is sooner; later if the run asked for more time, up
    /// to the cap.
    pub(super) fn drop_at(
        &self,
        grace: Option<Duration>,
        extended: Option<Nanos>,
    ) -> Option<Nanos> {
        let graceful = grace.map(|grace| self.asked.saturating_add(grace.into()));
        let planned = earlier(graceful, self.deadline);
        let extended = planned.map(|planned| extended.map_or(planned, |more| planned.max(more)));
        earlier(extended, self.cap)
    }
}

/// `time` after `then`. A time too far away to be named is one that nobody lives to see.
pub fn after(then: Instant, time: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    then.checked_add(time)
        .unwrap_or_else(|| then + THIRTY_YEARS)
}

fn earlier(a: Option<Nanos>, b: Option<Nanos>) -> Option<Nanos> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stop_word::StopWord, *};

    #[test]
    fn a_stop_ends_at_the_sooner_of_grace_and_deadline_and_no_extension_passes_the_cap() {
        let at = |secs: u64| Nanos::from(Duration::from_secs(100 + secs));
        let stop = |deadline, cap| Stop {
            cause: StopCause::Shutdown,
            asked: at(0),
            raised: false,
            deadline,
            cap,
        };
        let grace = Some(Duration::from_secs(5));
        assert_eq!(stop(None, None).drop_at(grace, None), Some(at(5)));
        assert_eq!(stop(Some(at(3)), None).drop_at(grace, None), Some(at(3)));
        assert_eq!(stop(Some(at(9)), None).drop_at(grace, None), Some(at(5)));
        assert_eq!(stop(None, None).drop_at(grace, Some(at(8))), Some(at(8)));
        assert_eq!(
            stop(None, Some(at(7))).drop_at(grace, Some(at(8))),
            Some(at(7))
        );
        assert_eq!(stop(None, None).drop_at(None, None), None);
        // More time than was never limited is no limit.
        assert_eq!(stop(None, None).drop_at(None, Some(at(8))), None);
    }

    #[test]
    fn a_stop_word_speaks_of_one_run_alone() {
        let word = StopWord::new(0);
        assert!(word.is_cancelled(0) && word.cause(0).is_none());
        word.runs(1);
        assert!(word.is_cancelled(0) && !word.is_cancelled(1));
        for cause in StopCause::ALL {
            word.stops(1, cause);
            assert!(word.is_cancelled(1));
            assert_eq!((word.cause(0), word.cause(1)), (None, Some(cause)));
        }
        word.over(1);
        assert!(word.is_cancelled(1) && word.cause(1).is_none());
    }
}
