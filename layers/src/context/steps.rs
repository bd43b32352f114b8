use std::sync::Arc;

use arrayvec::ArrayVec;

use super::LifecycleEvent;
use crate::{
    StopCause, TaskExit,
    policy::{
        BackoffDelay, FuseLimit, FuseReading, Nanos, RestartAction, RestartDecision, RestartType,
    },
};

/// What happened to a child at once, lent to whoever keeps or tells it: one event, or all that the end of a run
/// consists of.
#[derive(Debug, Clone, Copy)]
pub enum Steps<'a> {
    /// One event.
    One(&'a LifecycleEvent),
    /// A run ended.
    End(&'a RunEnd),
}

impl Steps<'_> {
    /// What happened, in order.
    pub fn events(&self) -> ArrayVec<LifecycleEvent, { RunEnd::MOST_EVENTS }> {
        match self {
            Self::One(event) => ArrayVec::from_iter([LifecycleEvent::clone(event)]),
            Self::End(end) => end.events(),
        }
    }
}

impl<'a> From<&'a RunEnd> for Steps<'a> {
    fn from(end: &'a RunEnd) -> Self {
        Self::End(end)
    }
}

impl<'a> From<&'a LifecycleEvent> for Steps<'a> {
    fn from(event: &'a LifecycleEvent) -> Self {
        Self::One(event)
    }
}

/// How a run ended, what was decided and what followed at once: in few words, as a journal keeps thousands.
#[derive(Debug, Clone)]
pub struct RunEnd {
    message: Option<Arc<str>>,
    /// What the decision's action lasts.
    time: Option<Nanos>,
    fuse: Option<Fuse>,
    backoff: Option<Backoff>,
    action: Action,
    exit: TaskExit,
    restart: RestartType,
    fatal: bool,
    blown: bool,
    /// The wait or the hold that was decided has begun.
    followed: bool,
}

/// An end of which there is no more to say than how and what was decided: most are, and in a few bytes.
#[derive(Debug, Clone, Copy)]
pub struct PlainEnd {
    action: Action,
    exit: TaskExit,
    restart: RestartType,
    fatal: bool,
}

impl PlainEnd {
    /// How many events it consists of.
    pub const EVENTS: u8 = 2;

    /// How the run ended.
    pub fn exit(self) -> TaskExit {
        self.exit
    }

    /// Why it was stopped, if it was.
    pub fn stopped_for(self) -> Option<StopCause> {
        match self.action {
            Action::Stop(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<PlainEnd> for RunEnd {
    fn from(end: PlainEnd) -> Self {
        Self {
            message: None,
            time: None,
            fuse: None,
            backoff: None,
            action: end.action,
            exit: end.exit,
            restart: end.restart,
            fatal: end.fatal,
            blown: false,
            followed: false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Fuse {
    window: Nanos,
    failures: u32,
    used: u32,
}

#[derive(Debug, Clone, Copy)]
struct Backoff {
    before_jitter: Nanos,
    after_jitter: Nanos,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Restart,
    RestartGroup,
    Quarantine,
    Finish,
    Fail,
    GiveUp,
    Escalate,
    Stop(StopCause),
}

impl RunEnd {
    /// It ended, the fuse was charged and blew, what was decided, what follows.
    const MOST_EVENTS: usize = 5;

    pub(super) fn new(
        decision: &RestartDecision,
        message: Option<Arc<str>>,
        followed: bool,
    ) -> Self {
        let (action, time) = match decision.action {
            RestartAction::Restart { delay } => (Action::Restart, Some(delay)),
            RestartAction::RestartGroup { delay } => (Action::RestartGroup, Some(delay)),
            RestartAction::Quarantine { release_after } => (Action::Quarantine, release_after),
            RestartAction::Finish => (Action::Finish, None),
            RestartAction::Fail => (Action::Fail, None),
            RestartAction::GiveUp => (Action::GiveUp, None),
            RestartAction::Escalate => (Action::Escalate, None),
            RestartAction::Stop { cause } => (Action::Stop(cause), None),
        };
        Self {
            message,
            time: time.map(Nanos::from),
            fuse: decision.fuse.map(|fuse| Fuse {
                window: fuse.limit.window.into(),
                failures: fuse.limit.failures,
                used: fuse.used,
            }),
            backoff: decision.backoff.map(|backoff| Backoff {
                before_jitter: backoff.before_jitter.into(),
                after_jitter: backoff.after_jitter.into(),
            }),
            action,
            exit: decision.exit,
            restart: decision.restart,
            fatal: decision.fatal,
            blown: decision.fuse.is_some_and(|fuse| fuse.blown),
            followed,
        }
    }

    /// What there is to say of it, if it is no more than that.
    pub fn plain(&self) -> Option<PlainEnd> {
        let Self {
            message: None,
            time: None,
            fuse: None,
            backoff: None,
            action,
            exit,
            restart,
            fatal,
            blown: false,
            followed: false,
        } = *self
        else {
            return None;
        };
        Some(PlainEnd {
            action,
            exit,
            restart,
            fatal,
        })
    }

    /// How the run ended.
    pub fn exit(&self) -> TaskExit {
        self.exit
    }

    /// The failure in words.
    pub fn message(&self) -> Option<&Arc<str>> {
        self.message.as_ref()
    }

    /// What was decided, and why.
    pub fn decision(&self) -> RestartDecision {
        let time = self.time.map(Into::into);
        let delay = time.unwrap_or_default();
        RestartDecision {
            action: match self.action {
                Action::Restart => RestartAction::Restart { delay },
                Action::RestartGroup => RestartAction::RestartGroup { delay },
                Action::Quarantine => RestartAction::Quarantine {
                    release_after: time,
                },
                Action::Finish => RestartAction::Finish,
                Action::Fail => RestartAction::Fail,
                Action::GiveUp => RestartAction::GiveUp,
                Action::Escalate => RestartAction::Escalate,
                Action::Stop(cause) => RestartAction::Stop { cause },
            },
            exit: self.exit,
            restart: self.restart,
            fatal: self.fatal,
            fuse: self.fuse(),
            backoff: self.backoff.map(|backoff| BackoffDelay {
                before_jitter: backoff.before_jitter.into(),
                after_jitter: backoff.after_jitter.into(),
            }),
        }
    }

    fn fuse(&self) -> Option<FuseReading> {
        self.fuse.map(|fuse| FuseReading {
            used: fuse.used,
            limit: FuseLimit {
                failures: fuse.failures,
                window: fuse.window.into(),
            },
            blown: self.blown,
        })
    }

    /// How many events it consists of.
    pub fn count(&self) -> usize {
        usize::from(PlainEnd::EVENTS)
            + usize::from(self.fuse.is_some())
            + usize::from(self.blown)
            + usize::from(self.followed)
    }

    /// The events that it consists of, in order.
    pub fn events(&self) -> ArrayVec<LifecycleEvent, { Self::MOST_EVENTS }> {
        let mut events = ArrayVec::new();
        events.push(LifecycleEvent::Exited {
            exit: self.exit,
            message: self.message.clone(),
        });
        if let Some(fuse) = self.fuse() {
            events.push(LifecycleEvent::FuseCharged { fuse });
            if fuse.blown {
                events.push(LifecycleEvent::FuseBlown { fuse });
            }
        }
        let decision = self.decision();
        events.push(LifecycleEvent::RestartDecided { decision });
        match decision.action {
            _ if !self.followed => {}
            RestartAction::Restart { delay } => events.push(LifecycleEvent::BackingOff { delay }),
            RestartAction::Quarantine { release_after } => {
                events.push(LifecycleEvent::Quarantined {
                    reason: blown(decision.fuse),
                    release_after,
                });
            }
            _ => {}
        }
        events
    }
}

/// Why a blown fuse holds a child.
pub(super) fn blown(fuse: Option<FuseReading>) -> Arc<str> {
    match fuse.map(|fuse| fuse.limit) {
        Some(limit) => {
            let (failures, window) = (limit.failures, limit.window);
            format!("fuse blown: more than {failures} in {window:?}").into()
        }
        None => "fuse blown".into(),
    }
}
