use std::task::Waker;

use super::{
    super::{LifeEnd, RunEnd, blown},
    Slot,
    admission::Admission,
    control::{Control, End, Hold, Phase},
    locked::Locked,
    past::Last,
    stop::after,
};
use crate::{
    StopCause, TaskExit, TaskFailure,
    policy::{ExitFacts, Nanos, RestartAction, RestartDecision, RestartType, decide},
};

/// What was decided at a run's end, when that was, and what it left the slot like.
pub(crate) struct Exit {
    pub(crate) action: RestartAction,
    pub(crate) at: Nanos,
    /// The life is over.
    pub(crate) ended: bool,
    /// What the gate has for the next run.
    pub(crate) gate: Admission,
}

/// The end of a run, the decision, and the end of a life.
impl Slot {
    /// Ends the run: reads the notes, decides, and leaves the slot as the decision says.
    ///
    /// `None` when that run is not the current one or has ended already.
    pub(crate) fn end_run(
        &self,
        generation: u64,
        result: Result<(), &TaskFailure>,
        restart: RestartType,
    ) -> Option<Exit> {
        let mut control = self.lock();
        if control.generation != generation || !control.is_alive() {
            return None;
        }
        let now = self.now();
        let pending = control.take_stop();
        let asked_as_last = pending
            .as_ref()
            .and_then(|stop| control.asked_as_last(stop));
        let pending = pending.map(|stop| stop.cause);
        let stop = match control.phase {
            Phase::Joining { stopped } => stopped,
            _ => pending,
        };
        let exit = exit_of(result, stop);
        let first_start = control.first_start && !control.ready;
        control.failed_first_start = first_start && !stop.is_some_and(StopCause::is_foreign);
        // Whether a child starts that others stopped only to run again, its next run shows.
        control.first_start &= matches!(stop, Some(StopCause::Restart | StopCause::Sibling));
        let notes = control.take_notes();
        let facts = ExitFacts {
            restart,
            exit,
            fatal: result.is_err_and(TaskFailure::is_fatal),
            stop,
            first_start,
            fuse: notes.fuse,
            has_fuse: control.setting(|settings| settings.fuse).is_some(),
            backoff: notes.backoff,
            quarantine: notes.quarantine,
            grouped: control.grouped,
        };
        let owner = self.owner();
        let decision = decide(&facts, || {
            owner.is_none_or(|owner| owner.admit_restart(now))
        });

        if now.saturating_sub(control.began) >= control.healthy_time() {
            control.attempt = 0;
        }
        control.lingering = false;
        control.forget_helpers();
        control.cancel_token();
        self.word.over(generation);

        let message = result.err().map(|failure| failure.message().clone());
        let followed = self.follow(&mut control, &decision, now);
        let end = RunEnd::new(&decision, message, followed);
        if !asked_as_last.is_some_and(|asked| self.record_last(&mut control, now, &end, asked)) {
            self.record(&mut control, now, &end);
        }
        control.past.ended(Last {
            generation,
            end,
            at: now,
        });
        let correlation = control.correlation;
        if control.hold.is_some() {
            control.correlation = 0;
        }
        control.tell_of_end();
        let ended = control.is_over();
        let gate = self.admission(&control);
        let run = self.run_id(&control);
        drop(control);
        if let Some(owner) = owner {
            owner.decided(run, &decision, correlation);
        }
        Some(Exit {
            action: decision.action,
            at: now,
            ended,
            gate,
        })
    }

    /// Leaves the child as the decision says; answers whether that is an event of its own: a wait or a hold
    /// that begins.
    fn follow(&self, control: &mut Control, decision: &RestartDecision, now: Nanos) -> bool {
        if std::mem::take(&mut control.rerun) {
            control.forget_history();
            control.group_hold |= matches!(decision.action, RestartAction::RestartGroup { .. });
            control.phase = Phase::Idle;
            return false;
        }
        let mut begins = false;
        control.phase = match decision.action {
            RestartAction::Restart { delay } if delay.is_zero() => Phase::Idle,
            RestartAction::Restart { delay } => {
                begins = true;
                Phase::BackingOff {
                    until: now.saturating_add(delay.into()),
                }
            }
            RestartAction::RestartGroup { .. } => {
                control.group_hold = true;
                Phase::Idle
            }
            // Somebody holds the child since its helpers were being ended: it stays theirs to release.
            RestartAction::Quarantine { .. } if control.hold.is_some() => Phase::Idle,
            RestartAction::Quarantine { release_after } => {
                control.hold = Some(Box::new(Hold::Quarantined {
                    reason: blown(decision.fuse),
                    until: release_after.map(|time| after(self.at(now), time)),
                }));
                begins = true;
                Phase::Idle
            }
            RestartAction::Finish => Phase::Ended(End::Finished),
            RestartAction::Fail if decision.exit == TaskExit::Aborted => Phase::Ended(End::Aborted),
            RestartAction::Fail | RestartAction::GiveUp | RestartAction::Escalate => {
                Phase::Ended(End::Failed)
            }
            RestartAction::Stop { cause } => {
                if cause == StopCause::Restart {
                    control.forget_history();
                }
                Phase::Idle
            }
        };
        begins
    }

    /// The life is over: nothing but a restart by hand brings another run. `at` is when its last run ended,
    /// if nothing was waited for since.
    pub(crate) fn end_life(&self, failed: bool, at: Option<Nanos>) -> LifeEnd {
        // Dropped with the slot unlocked.
        let _task;
        let mut control = self.lock();
        _task = self.end_life_locked(&mut control, failed, at);
        control.life_end()
    }

    /// The same, if nothing of that run is alive.
    pub(crate) fn end_life_if_down(&self, generation: u64, failed: bool) -> Option<LifeEnd> {
        let _task;
        let mut control = self.lock();
        if !control.is_down(generation) {
            return None;
        }
        _task = self.end_life_locked(&mut control, failed, None);
        Some(control.life_end())
    }

    /// Answers the waker of the child's task, which waits for nothing any more.
    fn end_life_locked(
        &self,
        control: &mut Locked<'_>,
        failed: bool,
        at: Option<Nanos>,
    ) -> Option<Waker> {
        let task = control.waiters.forget_task();
        control.managed = false;
        if control.is_between_runs() {
            control.phase = Phase::Ended(match (control.past.last_end(), failed) {
                (Some((TaskExit::Aborted, _)), _) => End::Aborted,
                (_, true) => End::Failed,
                (_, false) => End::Finished,
            });
            control.since = at.unwrap_or_else(|| self.now());
            control.tell_watchers();
        }
        task
    }
}

fn exit_of(result: Result<(), &TaskFailure>, stop: Option<StopCause>) -> TaskExit {
    match (result, stop) {
        (Err(failure), _) => failure.exit(),
        (Ok(()), Some(cause)) if cause.is_foreign() => TaskExit::Cancelled,
        (Ok(()), Some(_)) => TaskExit::Unhealthy,
        (Ok(()), None) => TaskExit::Completed,
    }
}
