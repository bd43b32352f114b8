//! What becomes of one child in the model: its runs, how they end, and what follows.

use std::time::Duration;

use rust_supervisor::{
    OnFuseBlown, RestartAction, RestartType, StopCause, SupervisionStrategy, TaskExit,
};

use super::{
    model::{HEALTHY, Hold, Model, Notice, Phase, ROOT, What, within},
    plan::{Blown, Curve, Delays, End, Run, Stop, Worker},
    trace::{Outcome, Reached, Step},
};

/// How a run came to its end.
#[derive(Clone, Copy, PartialEq)]
pub enum Ending {
    Ok,
    Failed,
    Fatal,
    Panicked,
    TimedOut,
    /// Dropped, as it did not end within its grace.
    Dropped,
    /// A supervisor whose child could not be started for the first time, or that gave up.
    GaveUp,
}

/// What is decided of a run that ends as its child is held.
const HELD: RestartAction = RestartAction::Stop {
    cause: StopCause::Quarantine,
};

impl Model<'_> {
    pub fn begin(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if std::mem::take(&mut node.again) {
            node.forget();
        }
        node.generation += 1;
        node.attempt += 1;
        node.phase = Phase::Active;
        node.ready = false;
        node.began = self.now;
        node.stop = None;
        self.log(at, Step::Starting);
        match self.nodes[at].what {
            What::Scope(_) => self.begin_life(at),
            What::Worker(worker) => {
                let run = self.course(at, worker);
                if worker.explicit && run.ready == 0 {
                    self.become_ready(at);
                }
                match run.end {
                    Some((0, how)) => self.exit(at, how.into()),
                    _ if !worker.explicit => self.become_ready(at),
                    _ => {}
                }
            }
        }
    }

    /// What the current run does.
    fn course(&self, at: usize, worker: &Worker) -> Run {
        let run = usize::try_from(self.nodes[at].generation - 1).unwrap();
        worker.runs.get(run).copied().unwrap_or(Run::STEADY)
    }

    /// The next step of a worker's run, if it is time.
    pub fn run_on(&mut self, at: usize, worker: &Worker) -> bool {
        let (run, now) = (self.course(at, worker), self.now);
        let node = &self.nodes[at];
        let own_way = node.stop.is_none() || run.stop == Stop::Deaf;
        if own_way {
            if let Some((after, how)) = run.end
                && node.began + after <= now
            {
                self.exit(at, how.into());
                return true;
            }
            if worker.explicit && !node.ready && node.began + run.ready <= now {
                self.become_ready(at);
                return true;
            }
        }
        match (node.stop, run.stop) {
            (Some((_, asked)), Stop::Takes(time)) if asked + time <= now => {
                self.exit(at, Ending::Ok);
            }
            (Some((_, asked)), Stop::Fails(time)) if asked + time <= now => {
                self.exit(at, Ending::Failed);
            }
            (Some((_, asked)), _) if asked + worker.grace <= now => {
                self.exit(at, Ending::Dropped);
            }
            (None, _)
                if worker.explicit && !node.ready && node.began + worker.start_timeout <= now =>
            {
                self.log(at, Step::Unhealthy);
                self.reach(Reached::LateStart);
                self.stop(at, StopCause::Unhealthy);
            }
            _ => return false,
        }
        true
    }

    pub fn run_moments(&self, at: usize, worker: &Worker, moments: &mut Vec<u64>) {
        let (node, run) = (&self.nodes[at], self.course(at, worker));
        let starts = worker.explicit && !node.ready;
        if node.stop.is_none() || run.stop == Stop::Deaf {
            moments.extend(run.end.map(|(after, _)| node.began + after));
            moments.extend(starts.then_some(node.began + run.ready));
        }
        match node.stop {
            None => moments.extend(starts.then_some(node.began + worker.start_timeout)),
            Some((_, asked)) => {
                moments.push(asked + worker.grace);
                if let Stop::Takes(time) | Stop::Fails(time) = run.stop {
                    moments.push(asked + time);
                }
            }
        }
    }

    pub fn become_ready(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.ready = true;
        node.first_start = false;
        node.first.get_or_insert(true);
        self.log(at, Step::Ready);
    }

    /// Asks a run to stop; a second asker can only give a weightier cause.
    pub fn stop(&mut self, at: usize, cause: StopCause) {
        let now = self.now;
        let node = &mut self.nodes[at];
        if node.is_active() {
            let (pending, _) = node.stop.get_or_insert((cause, now));
            *pending = (*pending).max(cause);
        }
    }

    /// Asks a child to end for good.
    pub fn end(&mut self, at: usize, cause: StopCause) {
        let node = &mut self.nodes[at];
        node.end = node.end.max(Some(cause));
        self.stop(at, cause);
    }

    /// A run ends: what is counted, what is decided, and what follows.
    pub fn exit(&mut self, at: usize, ending: Ending) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let stop = node.stop.take().map(|(cause, _)| cause);
        let foreign = stop.filter(|cause| cause.is_foreign());
        let ending = match stop {
            Some(StopCause::Unhealthy) => Ending::TimedOut,
            _ => ending,
        };
        let exit = match ending {
            Ending::Ok if foreign.is_some() => TaskExit::Cancelled,
            Ending::Ok => TaskExit::Completed,
            Ending::Failed | Ending::Fatal | Ending::GaveUp => TaskExit::Failed,
            Ending::Panicked => TaskExit::Panicked,
            Ending::TimedOut => TaskExit::TimedOut,
            Ending::Dropped => TaskExit::Aborted,
        };
        let restart = self.restart_type(at);
        let node = &mut self.nodes[at];
        let worker = match node.what {
            What::Worker(worker) => Some(worker),
            What::Scope(_) => None,
        };
        let backoff = worker.and_then(|worker| worker.backoff);
        let fuse = worker.and_then(|worker| worker.fuse);
        let healthy = now - node.began >= backoff.map_or(HEALTHY, |backoff| backoff.reset_after);
        // What somebody else stopped counts for nothing, and neither does what went well.
        let well = ending == Ending::Ok && (restart != RestartType::Permanent || healthy);
        let counts = foreign.is_none() && !well;
        if healthy {
            node.attempt = 0;
        }
        if healthy || (well && foreign.is_none()) {
            node.failures = 0;
        }
        let reading = fuse.filter(|_| counts).map(|fuse| {
            node.fuse_log.push(now);
            let used = within(&node.fuse_log, fuse.limit.window, now).min(fuse.limit.count + 1);
            (used, used > fuse.limit.count)
        });
        node.fuse = reading.or(node.fuse);
        let delay = backoff.filter(|_| counts).map(|backoff| {
            node.failures += 1;
            backoff.after(node.failures)
        });
        let first_start = node.first_start && !node.ready;
        // Whether a child starts that others stopped only to run again, its next run shows.
        node.first_start &= matches!(stop, Some(StopCause::Restart | StopCause::Sibling));
        let parent = node.parent;
        let blown = reading.is_some_and(|(_, blown)| blown);
        let wait = Duration::from_millis(delay.unwrap_or_default());

        let action = if let Some(cause) = foreign {
            RestartAction::Stop { cause }
        } else if ending == Ending::Ok && restart != RestartType::Permanent {
            RestartAction::Finish
        } else if restart == RestartType::Temporary || ending == Ending::Fatal || first_start {
            RestartAction::Fail
        } else if blown {
            match fuse.map(|fuse| fuse.blown) {
                Some(Blown::Quarantine(time)) => RestartAction::Quarantine {
                    release_after: time.map(Duration::from_millis),
                },
                _ => RestartAction::GiveUp,
            }
        } else if self.scope_of(parent).strategy != SupervisionStrategy::OneForOne {
            RestartAction::RestartGroup { delay: wait }
        } else if fuse.is_some() || self.charge(parent) {
            RestartAction::Restart { delay: wait }
        } else {
            RestartAction::Escalate
        };

        let node = &mut self.nodes[at];
        node.last = Some(exit);
        *node.exits.entry(exit).or_default() += 1;
        match action {
            RestartAction::Finish => {
                node.first.get_or_insert(true);
            }
            RestartAction::Stop { .. } => {}
            _ => {
                node.first.get_or_insert(false);
            }
        }
        self.log(at, Step::Exited(exit));
        let decided = Step::Decided {
            action,
            fuse: reading,
            delay,
        };
        self.log(at, decided);
        self.follow(at, action);
        if action == RestartAction::Escalate && !self.closing {
            self.log_scope(parent, Step::Exceeded);
        }
        if at == ROOT {
            self.root_exited(ending, action);
        } else {
            self.tell(at, action, first_start, ending);
        }
    }

    fn follow(&mut self, at: usize, action: RestartAction) {
        let now = self.now;
        let node = &mut self.nodes[at];
        node.phase = match action {
            RestartAction::Restart { delay } if !delay.is_zero() => {
                let delay = millis(delay);
                node.phase = Phase::Backoff(now + delay);
                self.log(at, Step::BackingOff(delay));
                return;
            }
            RestartAction::Quarantine { release_after } => {
                let time = release_after.map(millis);
                node.phase = Phase::Idle;
                node.hold = Some(Hold::Quarantined(time.map(|time| now + time)));
                self.log(at, Step::Quarantined(time));
                return;
            }
            RestartAction::RestartGroup { .. } => {
                node.group_hold = true;
                Phase::Idle
            }
            RestartAction::Stop { cause } => {
                if cause == StopCause::Restart {
                    node.forget();
                }
                Phase::Idle
            }
            RestartAction::Restart { .. } => Phase::Idle,
            RestartAction::Finish => Phase::Finished,
            RestartAction::Fail | RestartAction::GiveUp | RestartAction::Escalate => Phase::Failed,
        };
    }

    /// Tells the supervisor what concerns it.
    fn tell(&mut self, at: usize, action: RestartAction, first_start: bool, ending: Ending) {
        let node = &self.nodes[at];
        let (parent, generation) = (node.parent, node.generation);
        let (is_ended, is_ending) = (node.is_ended(), node.end.is_some());
        let significant = self.is_significant(at);
        if self.closing {
            // Nothing restarts any more, and the siblings stop when it is their turn.
            return;
        }
        let mut notices = Vec::new();
        match action {
            RestartAction::RestartGroup { delay } => notices.push(Notice::Restart {
                child: at,
                generation,
                delay: millis(delay),
            }),
            RestartAction::Escalate => notices.push(Notice::Escalate),
            _ => {}
        }
        let mut forgotten = false;
        if is_ended && !is_ending {
            // Of a first start that failed whoever asked for it is told.
            let own = !(first_start && action == RestartAction::Fail);
            let escalates = match action {
                RestartAction::GiveUp => self.on_fuse_blown(at) == OnFuseBlown::Escalate,
                // Any end of a temporary child is one that auto shutdown looks at.
                RestartAction::Fail
                    if self.restart_type(at) == RestartType::Temporary
                        && self.scope_of(parent).auto_shutdown
                            != rust_supervisor::AutoShutdown::Never =>
                {
                    significant && own && ending == Ending::Fatal
                }
                RestartAction::Fail => significant && own,
                _ => false,
            };
            if escalates {
                notices.push(Notice::Escalate);
            }
            if significant && own {
                notices.push(Notice::SignificantEnded);
            }
            forgotten = self.restart_type(at) == RestartType::Temporary;
        }
        self.state(parent).notices.extend(notices);
        if forgotten {
            self.nodes[at].launched = false;
            self.remove(at);
        }
    }

    fn on_fuse_blown(&self, at: usize) -> OnFuseBlown {
        match self.nodes[at].what {
            What::Worker(worker) => match worker.fuse.map(|fuse| fuse.blown) {
                Some(Blown::Escalate) => OnFuseBlown::Escalate,
                Some(Blown::Stop) => OnFuseBlown::Stop,
                _ => OnFuseBlown::Quarantine,
            },
            What::Scope(_) => OnFuseBlown::Escalate,
        }
    }

    /// The root runs again only when it was held, and is released.
    fn root_exited(&mut self, ending: Ending, action: RestartAction) {
        let root = &mut self.nodes[ROOT];
        if action != HELD || root.end.is_some() {
            if root.phase == Phase::Idle {
                root.phase = match ending {
                    Ending::Ok => Phase::Finished,
                    _ => Phase::Failed,
                };
            }
            self.end_tree(match ending {
                Ending::Ok => Outcome::Finished,
                _ => Outcome::GaveUp,
            });
        }
    }

    /// A child that has no run and is to have none any more.
    pub fn leave(&mut self, at: usize) {
        if at == ROOT {
            self.end_tree(Outcome::ShutDown);
            return;
        }
        let node = &mut self.nodes[at];
        node.launched = false;
        if let Phase::Idle | Phase::Backoff(_) = node.phase {
            node.phase = match node.last {
                Some(TaskExit::Aborted) => Phase::Aborted,
                _ => Phase::Finished,
            };
        }
        if node.end == Some(StopCause::Removal) {
            self.remove(at);
        }
    }

    pub fn remove(&mut self, at: usize) {
        if std::mem::take(&mut self.nodes[at].present) {
            self.log(at, Step::Removed);
        }
    }

    pub fn release(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(from) = node.released_from() else {
            return;
        };
        node.hold = None;
        node.forget();
        self.log(at, Step::Released(from));
    }
}

impl Delays {
    /// The delay after so many failures in a row.
    fn after(&self, failures: u32) -> u64 {
        let max = self.max.max(self.initial);
        match self.curve {
            Curve::Constant => self.initial,
            Curve::Linear => (self.initial * u64::from(failures)).min(max),
            Curve::Exponential => (self.initial << (failures - 1)).min(max),
        }
    }
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        match end {
            End::Completes => Self::Ok,
            End::Fails => Self::Failed,
            End::IsFatal => Self::Fatal,
            End::Panics => Self::Panicked,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}
