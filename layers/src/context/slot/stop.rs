use std::time::Duration;

use tokio::time::Instant;

use super::super::StopRequest;
use crate::StopCause;

/// A pending stop of a run: why, and when the run will be dropped.
pub(super) struct Stop {
    pub(super) cause: StopCause,
    asked: Instant,
    deadline: Option<Instant>,
    cap: Option<Instant>,
    extended: Option<Instant>,
}

impl Stop {
    pub(super) fn new(cause: StopCause, asked: Instant, request: &StopRequest) -> Self {
        Self {
            cause,
            asked,
            deadline: request.deadline,
            cap: request.cap,
            extended: None,
        }
    }

    /// A second stopper can only raise the cause and shorten what is left.
    pub(super) fn raise(&mut self, cause: StopCause, request: &StopRequest) {
        self.cause = self.cause.max(cause);
        self.deadline = earlier(self.deadline, request.deadline);
        self.cap = earlier(self.cap, request.cap);
    }

    pub(super) fn extend(&mut self, more: Duration) {
        self.extended = self.extended.max(Some(after(Instant::now(), more)));
    }

    /// The grace or the stopper's deadline, whichever is sooner; later if the run asked for more time, up
    /// to the cap.
    pub(super) fn drop_at(&self, grace: Option<Duration>) -> Option<Instant> {
        let planned = earlier(grace.map(|grace| after(self.asked, grace)), self.deadline);
        let extended = match (planned, self.extended) {
            (Some(planned), Some(extended)) => Some(planned.max(extended)),
            (planned, _) => planned,
        };
        earlier(extended, self.cap)
    }
}

/// `time` after `then`. A time too far away to be named is one that nobody lives to see.
pub fn after(then: Instant, time: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    then.checked_add(time)
        .unwrap_or_else(|| then + THIRTY_YEARS)
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
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
        let t = Instant::now();
        let at = |secs| t + Duration::from_secs(secs);
        let stop = |deadline, extended, cap| Stop {
            cause: StopCause::Shutdown,
            asked: t,
            deadline,
            cap,
            extended,
        };
        let grace = Some(Duration::from_secs(5));
        assert_eq!(stop(None, None, None).drop_at(grace), Some(at(5)));
        assert_eq!(stop(Some(at(3)), None, None).drop_at(grace), Some(at(3)));
        assert_eq!(stop(Some(at(9)), None, None).drop_at(grace), Some(at(5)));
        assert_eq!(stop(None, Some(at(8)), None).drop_at(grace), Some(at(8)));
        assert_eq!(
            stop(None, Some(at(8)), Some(at(7))).drop_at(grace),
            Some(at(7))
        );
        assert_eq!(stop(None, None, None).drop_at(None), None);
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
