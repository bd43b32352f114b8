use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{BackoffDelay, FuseReading};
use crate::{StopCause, TaskExit};

/// When a child that ended by itself runs again. As OTP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RestartType {
    /// Always: a loop that returns has gone wrong.
    #[default]
    Permanent,
    /// Unless it completed: work that runs to its end.
    Transient,
    /// Never.
    Temporary,
}

/// What is known when a run has ended; [`decide`] needs nothing else.
#[derive(Debug, Clone, Copy)]
pub struct ExitFacts {
    /// When the child is to run again.
    pub restart: RestartType,
    /// How the run ended.
    pub exit: TaskExit,
    /// The failure said that no restart can help.
    pub fatal: bool,
    /// Somebody was stopping the run when it ended.
    pub stop: Option<StopCause>,
    /// The run ended before it had started, and a failed first start is not retried.
    pub first_start: bool,
    /// What the fuse reads, where there is one and it was charged.
    pub fuse: Option<FuseReading>,
    /// A fuse stands over this child, charged or not.
    pub has_fuse: bool,
    /// The delay before the next run, where there is a backoff.
    pub backoff: Option<BackoffDelay>,
    /// A blown fuse holds the child: `Some(release after)`.
    pub quarantine: Option<Option<Duration>>,
    /// Restarts are the supervisor's to carry out, for a group.
    pub grouped: bool,
}

/// What happens to the child next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum RestartAction {
    /// It runs again in place.
    Restart {
        /// After this.
        #[serde(rename = "delay_ms", with = "crate::serde_millis")]
        #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
        delay: Duration,
    },
    /// Its supervisor restarts the group it belongs to.
    RestartGroup {
        /// After this.
        #[serde(rename = "delay_ms", with = "crate::serde_millis")]
        #[cfg_attr(feature = "schemars", schemars(with = "u64"))]
        delay: Duration,
    },
    /// It is held down, visible, until released.
    Quarantine {
        /// Released by itself after this; by hand only, if absent.
        #[serde(rename = "release_after_ms", with = "crate::serde_millis::option")]
        #[cfg_attr(feature = "schemars", schemars(with = "Option<u64>"))]
        release_after: Option<Duration>,
    },
    /// It is done.
    Finish,
    /// It stays down: the failure was fatal, or a temporary child failed.
    Fail,
    /// It stays down: its fuse blew and nothing holds it.
    GiveUp,
    /// Its supervisor's intensity is exceeded; the supervisor ends.
    Escalate,
    /// It was being stopped and does what the stop says.
    Stop {
        /// Why it was being stopped.
        cause: StopCause,
    },
}

/// What every exit produces: what happens next, and why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct RestartDecision {
    /// What happens next.
    #[serde(flatten)]
    pub action: RestartAction,
    /// How the run ended.
    pub exit: TaskExit,
    /// When the child is to run again.
    pub restart: RestartType,
    /// No restart can help.
    pub fatal: bool,
    /// What the fuse read.
    pub fuse: Option<FuseReading>,
    /// What the backoff said.
    pub backoff: Option<BackoffDelay>,
}

/// Turns an exit into a decision.
///
/// `admit` asks the supervisor's intensity for one restart; it is called only where a restart in place
/// would follow and no fuse stands over the child.
pub fn decide(facts: &ExitFacts, admit: impl FnOnce() -> bool) -> RestartDecision {
    RestartDecision {
        action: action(facts, admit),
        exit: facts.exit,
        restart: facts.restart,
        fatal: facts.fatal,
        fuse: facts.fuse,
        backoff: facts.backoff,
    }
}

fn action(facts: &ExitFacts, admit: impl FnOnce() -> bool) -> RestartAction {
    if let Some(cause) = facts.stop.filter(|cause| cause.is_foreign()) {
        return RestartAction::Stop { cause };
    }
    let completed = facts.exit == TaskExit::Completed;
    match facts.restart {
        RestartType::Transient | RestartType::Temporary if completed => {
            return RestartAction::Finish;
        }
        RestartType::Temporary => return RestartAction::Fail,
        _ if facts.fatal || facts.first_start => return RestartAction::Fail,
        _ => {}
    }
    if facts.fuse.is_some_and(|fuse| fuse.blown) {
        return match facts.quarantine {
            Some(release_after) => RestartAction::Quarantine { release_after },
            None => RestartAction::GiveUp,
        };
    }
    let delay = facts.backoff.unwrap_or_default().after_jitter;
    if facts.grouped {
        RestartAction::RestartGroup { delay }
    } else if facts.has_fuse || admit() {
        RestartAction::Restart { delay }
    } else {
        RestartAction::Escalate
    }
}

impl fmt::Display for RestartDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            RestartAction::Restart { delay } => write!(f, "restart after {delay:?}")?,
            RestartAction::RestartGroup { delay } => {
                write!(f, "restart with its group after {delay:?}")?;
            }
            RestartAction::Quarantine {
                release_after: None,
            } => f.write_str("quarantine until released")?,
            RestartAction::Quarantine {
                release_after: Some(after),
            } => write!(f, "quarantine for {after:?}")?,
            RestartAction::Finish => f.write_str("finished")?,
            RestartAction::Fail => f.write_str("stays down")?,
            RestartAction::GiveUp => f.write_str("gave up")?,
            RestartAction::Escalate => {
                f.write_str("escalate: the supervisor's intensity is exceeded")?;
            }
            RestartAction::Stop { cause } => write!(f, "stopped for {cause}")?,
        }
        write!(f, "; {:?} child {}", self.restart, self.exit)?;
        if self.fatal {
            f.write_str(", fatal")?;
        }
        if let Some(fuse) = self.fuse {
            write!(
                f,
                ", fuse {} of {} in {:?}",
                fuse.used, fuse.limit.failures, fuse.limit.window
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::FuseLimit;
    use RestartType::{Permanent, Temporary, Transient};

    fn facts(restart: RestartType, exit: TaskExit) -> ExitFacts {
        ExitFacts {
            restart,
            exit,
            fatal: false,
            stop: None,
            first_start: false,
            fuse: None,
            has_fuse: false,
            backoff: None,
            quarantine: None,
            grouped: false,
        }
    }

    fn act(facts: &ExitFacts) -> RestartAction {
        decide(facts, || true).action
    }

    const AGAIN: RestartAction = RestartAction::Restart {
        delay: Duration::ZERO,
    };
    const FAILURES: [TaskExit; 4] = [
        TaskExit::Failed,
        TaskExit::Panicked,
        TaskExit::TimedOut,
        TaskExit::Unhealthy,
    ];

    #[test]
    fn the_table_of_restart_types_holds() {
        assert_eq!(act(&facts(Permanent, TaskExit::Completed)), AGAIN);
        assert_eq!(
            act(&facts(Transient, TaskExit::Completed)),
            RestartAction::Finish
        );
        assert_eq!(
            act(&facts(Temporary, TaskExit::Completed)),
            RestartAction::Finish
        );
        for exit in FAILURES {
            assert_eq!(act(&facts(Permanent, exit)), AGAIN);
            assert_eq!(act(&facts(Transient, exit)), AGAIN);
            assert_eq!(act(&facts(Temporary, exit)), RestartAction::Fail);
            for restart in [Permanent, Transient, Temporary] {
                assert_eq!(
                    act(&ExitFacts {
                        fatal: true,
                        ..facts(restart, exit)
                    }),
                    RestartAction::Fail
                );
            }
        }
    }

    #[test]
    fn a_foreign_stop_outweighs_everything_else() {
        let blown = FuseReading {
            used: 4,
            limit: FuseLimit {
                failures: 3,
                window: Duration::from_secs(1),
            },
            blown: true,
        };
        for cause in StopCause::ALL
            .into_iter()
            .filter(|cause| cause.is_foreign())
        {
            let facts = ExitFacts {
                stop: Some(cause),
                fuse: Some(blown),
                fatal: true,
                grouped: true,
                ..facts(Permanent, TaskExit::Failed)
            };
            assert_eq!(
                decide(&facts, || panic!("nothing is charged")).action,
                RestartAction::Stop { cause }
            );
        }
        let own = ExitFacts {
            stop: Some(StopCause::Unhealthy),
            ..facts(Permanent, TaskExit::Unhealthy)
        };
        assert_eq!(act(&own), AGAIN);
    }

    #[test]
    fn a_blown_fuse_quarantines_or_gives_up() {
        let limit = FuseLimit {
            failures: 3,
            window: Duration::from_secs(1),
        };
        let blown = ExitFacts {
            fuse: Some(FuseReading {
                used: 4,
                limit,
                blown: true,
            }),
            has_fuse: true,
            ..facts(Permanent, TaskExit::Failed)
        };
        assert_eq!(act(&blown), RestartAction::GiveUp);
        let held = ExitFacts {
            quarantine: Some(None),
            ..blown
        };
        assert_eq!(
            act(&held),
            RestartAction::Quarantine {
                release_after: None
            }
        );
    }

    #[test]
    fn intensity_is_asked_only_for_a_restart_in_place_without_a_fuse() {
        let bare = facts(Permanent, TaskExit::Failed);
        assert_eq!(decide(&bare, || false).action, RestartAction::Escalate);
        let fused = ExitFacts {
            has_fuse: true,
            ..bare
        };
        assert_eq!(
            decide(&fused, || panic!("the fuse admits it")).action,
            AGAIN
        );
        let grouped = ExitFacts {
            grouped: true,
            ..bare
        };
        assert_eq!(
            decide(&grouped, || panic!("the group is charged once")).action,
            RestartAction::RestartGroup {
                delay: Duration::ZERO
            }
        );
        assert_eq!(
            decide(&facts(Transient, TaskExit::Completed), || panic!(
                "no restart"
            ))
            .action,
            RestartAction::Finish
        );
    }
}
