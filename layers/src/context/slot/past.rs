use std::{sync::Arc, time::Duration};

use super::{
    super::{LastExit, PlainEnd, RunEnd, memory::Memory},
    Slot,
    stop::Stop,
};
use crate::{
    TaskExit,
    observe::Meter,
    policy::{BackoffDelay, FuseReading, Nanos},
};

/// What there is to know of a child's run that is being stopped, and of those before. Most children have one run,
/// which ends because it was stopped: of them all of that is here.
#[derive(Default)]
pub(super) enum Past {
    /// Nothing.
    #[default]
    None,
    /// A run is being stopped, the first one of which there is anything to know.
    Stopping(Stop),
    /// One run has ended, and there is no more to say of it.
    Ended {
        generation: u64,
        end: PlainEnd,
        at: Nanos,
    },
    /// Anything more.
    Kept(Box<History>),
}

/// What there is of a child that has had an exit, or whose layers had something to note.
#[derive(Default)]
pub(super) struct History {
    /// Of the run that lives.
    stop: Option<Stop>,
    last: Option<Last>,
    exits: [u64; 7],
    pub(super) memory: Memory,
    pub(super) meter: Option<Arc<Meter>>,
    /// None before a layer had something to note.
    pub(super) charged: Option<Box<Charged>>,
}

/// What fuse, backoff and quarantine say of a child.
#[derive(Default)]
pub(super) struct Charged {
    /// Of the run that is ending.
    pub(super) notes: Notes,
    /// What the fuse read last.
    pub(super) fuse: Option<FuseReading>,
}

/// What the layers noted of the run that is ending.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) fuse: Option<FuseReading>,
    pub(super) backoff: Option<BackoffDelay>,
    pub(super) quarantine: Option<Option<Duration>>,
}

/// How the last run ended.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    pub(crate) generation: u64,
    pub(crate) end: RunEnd,
    pub(crate) at: Nanos,
}

impl Last {
    pub(crate) fn told(&self, slot: &Slot) -> LastExit {
        LastExit {
            generation: self.generation,
            exit: self.end.exit(),
            message: self.end.message().cloned(),
            decision: Some(self.end.decision()),
            at: slot.at(self.at),
        }
    }
}

impl Past {
    /// The stop that is pending.
    pub(super) fn stop(&self) -> Option<&Stop> {
        match self {
            Self::None | Self::Ended { .. } => None,
            Self::Stopping(stop) => Some(stop),
            Self::Kept(history) => history.stop.as_ref(),
        }
    }

    pub(super) fn stop_mut(&mut self) -> Option<&mut Stop> {
        match self {
            Self::None | Self::Ended { .. } => None,
            Self::Stopping(stop) => Some(stop),
            Self::Kept(history) => history.stop.as_mut(),
        }
    }

    pub(super) fn set_stop(&mut self, stop: Stop) {
        match self {
            Self::None | Self::Stopping(_) => *self = Self::Stopping(stop),
            Self::Ended { .. } | Self::Kept(_) => self.history().stop = Some(stop),
        }
    }

    pub(super) fn take_stop(&mut self) -> Option<Stop> {
        match self {
            Self::None | Self::Ended { .. } => None,
            &mut Self::Stopping(stop) => {
                *self = Self::None;
                Some(stop)
            }
            Self::Kept(history) => history.stop.take(),
        }
    }

    /// A run has ended, which nobody stops any more.
    pub(super) fn ended(&mut self, last: Last) {
        if let (Self::None, Some(end)) = (&*self, last.end.plain()) {
            let Last { generation, at, .. } = last;
            *self = Self::Ended {
                generation,
                end,
                at,
            };
            return;
        }
        let history = self.history();
        history.exits[last.end.exit() as usize] += 1;
        history.last = Some(last);
    }

    /// How the last run ended, and when.
    pub(super) fn last_end(&self) -> Option<(TaskExit, Nanos)> {
        match self {
            Self::None | Self::Stopping(_) => None,
            Self::Ended { end, at, .. } => Some((end.exit(), *at)),
            Self::Kept(history) => {
                let last = history.last.as_ref()?;
                Some((last.end.exit(), last.at))
            }
        }
    }

    /// All there is to know of that.
    pub(super) fn last(&self) -> Option<Last> {
        match self {
            Self::None | Self::Stopping(_) => None,
            &Self::Ended {
                generation,
                end,
                at,
            } => Some(Last {
                generation,
                end: end.into(),
                at,
            }),
            Self::Kept(history) => history.last.clone(),
        }
    }

    /// How often runs ended, by how.
    pub(super) fn exits(&self) -> [u64; 7] {
        match self {
            Self::None | Self::Stopping(_) => [0; 7],
            Self::Ended { end, .. } => {
                let mut exits = [0; 7];
                exits[end.exit() as usize] = 1;
                exits
            }
            Self::Kept(history) => history.exits,
        }
    }

    /// What is kept, if anything is.
    pub(super) fn kept(&self) -> Option<&History> {
        match self {
            Self::Kept(history) => Some(history),
            _ => None,
        }
    }

    pub(super) fn kept_mut(&mut self) -> Option<&mut History> {
        match self {
            Self::Kept(history) => Some(history),
            _ => None,
        }
    }

    /// The same for who has something to keep.
    pub(super) fn history(&mut self) -> &mut History {
        if self.kept().is_none() {
            *self = Self::Kept(Box::new(History {
                stop: self.stop().copied(),
                last: self.last(),
                exits: self.exits(),
                ..History::default()
            }));
        }
        match self {
            Self::Kept(history) => history,
            _ => unreachable!("it was just made so"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_four_words() {
        assert_eq!(size_of::<Past>(), 32);
    }
}
