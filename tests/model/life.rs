//! One life of a supervisor in the model: it starts its children, restarts them together, and stops them.

use rust_supervisor::{
    AutoShutdown, EscalationPolicy, RestartType, ShutdownOrder, StopCause, SupervisionStrategy,
};

use super::{
    model::{Hold, Model, Notice, Phase, ROOT, What},
    run::Ending,
    trace::{Reached, Started, Step},
};

pub enum Life {
    /// Its children start for the first time; so many have been launched.
    First { launched: usize, order: Vec<usize> },
    /// Its children start again, all or a group.
    Group(Group),
    /// All have started.
    Attend,
    /// Its children stop, the last of these first; or all have been asked.
    Stopping {
        left: Vec<usize>,
        asked: bool,
        ending: Ending,
    },
}

pub struct Group {
    /// In start order.
    members: Vec<usize>,
    stage: Stage,
    /// No member starts before.
    until: u64,
    /// A failure began it, not the supervisor's new life.
    begun: bool,
}

enum Stage {
    /// These have not ended yet; the last is being stopped, once asked.
    Stopping {
        left: Vec<usize>,
        asked: bool,
        failed: usize,
        delay: u64,
    },
    /// So many have been let go; the last of them has not started since this run of it.
    Starting { gone: usize, since: Option<u64> },
}

/// How it stands with a start that is waited for.
enum Start {
    Pending,
    Over,
}

impl Life {
    pub fn moment(&self) -> Option<u64> {
        match self {
            Self::Group(Group {
                stage: Stage::Starting { gone: 0, .. },
                until,
                ..
            }) => Some(*until),
            _ => None,
        }
    }
}

impl Model<'_> {
    /// A supervisor's run begins.
    pub fn begin_life(&mut self, at: usize) {
        let state = self.state(at);
        state.notices.clear();
        state.charges.clear();
        if self.nodes[at].generation == 1 {
            for child in self.children(at) {
                self.log(child, Step::Added);
            }
            let order = self.children(at);
            self.state(at).life = Life::First { launched: 0, order };
            return;
        }
        for child in self.children(at) {
            if !self.nodes[child].declared {
                self.reach(Reached::AddedGoneWithALife);
                self.remove(child);
            }
        }
        let members = self.children(at);
        for &child in &members {
            if self.nodes[child].hold.is_some() {
                self.reach(Reached::HeldOverALife);
            }
            if self.restart_type(child) == RestartType::Temporary {
                self.reach(Reached::TemporaryOverALife);
            }
            self.reopen(child, false);
            self.nodes[child].group_hold = true;
        }
        self.state(at).life = Life::Group(Group {
            members,
            stage: Stage::Starting {
                gone: 0,
                since: None,
            },
            until: self.now,
            begun: false,
        });
    }

    /// Lets a child live under a new life of its supervisor, or for the first time.
    pub fn reopen(&mut self, at: usize, first_start: bool) {
        let node = &mut self.nodes[at];
        node.launched = true;
        node.end = None;
        node.group_hold = false;
        node.first_start = first_start;
        node.asked = None;
        node.again = false;
        node.forget();
        node.phase = Phase::Idle;
    }

    /// The next step of a supervisor's life, if there is one.
    pub fn live_on(&mut self, at: usize) -> bool {
        let asked = at == ROOT && self.closing && !self.by_itself && self.nodes[ROOT].end.is_none();
        // The order to shut down comes from outside, and may come late.
        let moved = asked && !self.turns.outside() && self.live_step(at);
        if asked && !moved {
            self.end(ROOT, StopCause::Shutdown);
        }
        moved || self.live_step(at)
    }

    fn live_step(&mut self, at: usize) -> bool {
        let stopping = matches!(self.state(at).life, Life::Stopping { .. });
        if self.nodes[at].stop.is_some() && !stopping {
            self.begin_stopping(at, Ending::Ok);
            return true;
        }
        let life = std::mem::replace(&mut self.state(at).life, Life::Attend);
        match life {
            Life::First { launched, order } => self.start_first(at, launched, order),
            Life::Group(group) => self.restart_on(at, group),
            Life::Attend => self.attend(at),
            Life::Stopping {
                left,
                asked,
                ending,
            } => self.stop_on(at, left, asked, ending),
        }
    }

    /// One whose start is not waited for is looked after before the next one whose is.
    fn start_first(&mut self, at: usize, launched: usize, order: Vec<usize>) -> bool {
        let waits = |place: usize| {
            order
                .get(place)
                .is_none_or(|&child| self.starts_explicitly(child))
        };
        if waits(launched) || (launched > 0 && waits(launched - 1)) {
            for &child in &order[..launched] {
                match self.nodes[child].first {
                    Some(true) => {}
                    Some(false) => {
                        let path = self.nodes[child].path.clone();
                        if self.trace.start.is_none() {
                            self.trace.start = Some(Started::Not(path));
                        }
                        self.begin_stopping(at, Ending::GaveUp);
                        return true;
                    }
                    None => {
                        self.state(at).life = Life::First { launched, order };
                        return false;
                    }
                }
            }
        }
        match order.get(launched) {
            Some(&child) => {
                self.reopen(child, true);
                let launched = launched + 1;
                self.state(at).life = Life::First { launched, order };
            }
            None => self.all_started(at),
        }
        true
    }

    fn all_started(&mut self, at: usize) {
        self.become_ready(at);
        if at == ROOT {
            self.started(Started::Yes);
        }
    }

    pub fn starts_explicitly(&self, at: usize) -> bool {
        match self.nodes[at].what {
            What::Worker(worker) => worker.explicit,
            What::Scope(_) => true,
        }
    }

    fn attend(&mut self, at: usize) -> bool {
        if self.state(at).notices.is_empty() {
            return false;
        }
        match self.state(at).notices.remove(0) {
            Notice::Restart {
                child,
                generation,
                delay,
            } => {
                if self.still_waits(child, generation) {
                    let group = Group {
                        members: Vec::new(),
                        stage: Stage::Starting {
                            gone: 0,
                            since: None,
                        },
                        until: 0,
                        begun: false,
                    };
                    self.begin_group(at, group, child, delay);
                }
            }
            Notice::Escalate => self.give_up(at),
            Notice::SignificantEnded => {
                if self.is_done(at) {
                    self.reach(Reached::AutoShutdown);
                    self.begin_stopping(at, Ending::Ok);
                }
            }
        }
        true
    }

    fn is_done(&self, at: usize) -> bool {
        match self.scope_of(at).auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => self
                .children(at)
                .into_iter()
                .all(|child| !self.is_significant(child) || self.nodes[child].is_ended()),
        }
    }

    fn give_up(&mut self, at: usize) {
        let policy = self.scope_of(at).escalation;
        self.log_scope(at, Step::Escalated(policy));
        match policy {
            EscalationPolicy::EscalateToParent => {}
            EscalationPolicy::ShutdownTree => {
                self.gave_up |= !self.closing;
                self.reach(Reached::GaveUpByShutdown);
                self.close();
                self.end(at, StopCause::Shutdown);
            }
            EscalationPolicy::QuarantineScope => {
                self.reach(Reached::GaveUpByQuarantine);
                self.quarantine(at);
            }
        }
        self.begin_stopping(at, Ending::GaveUp);
    }

    // Groups.

    /// A notice is old when its child has run since.
    fn still_waits(&self, child: usize, generation: u64) -> bool {
        let child = &self.nodes[child];
        child.present && child.generation == generation && child.waits()
    }

    fn group_of(&self, at: usize, failed: usize) -> Vec<usize> {
        let mut group = self.children(at);
        group.retain(|&child| self.in_group(at, failed, child));
        group
    }

    fn in_group(&self, at: usize, failed: usize, child: usize) -> bool {
        match self.scope_of(at).strategy {
            SupervisionStrategy::OneForOne => child == failed,
            SupervisionStrategy::OneForAll => true,
            SupervisionStrategy::RestForOne => child >= failed,
        }
    }

    /// A child's failure restarts its group; one under way goes up in it, or is continued after it.
    fn begin_group(&mut self, at: usize, mut group: Group, failed: usize, delay: u64) {
        if !self.charge(at) {
            self.log_scope(at, Step::Exceeded);
            self.give_up(at);
            return;
        }
        let now = self.now;
        let left = self.group_of(at, failed);
        group.until = group.until.max(now + delay);
        group.begun = true;
        self.state(at).group_restarts += 1;
        let begun = Step::GroupBegun {
            failed: self.nodes[failed].path.clone(),
            members: left.len(),
            delay: group.until - now,
        };
        self.log_scope(at, begun);
        for &child in &left {
            self.nodes[child].group_hold = true;
        }
        group
            .members
            .retain(|&child| !self.in_group(at, failed, child) && self.nodes[child].waits());
        group.members.extend(&left);
        group.stage = Stage::Stopping {
            left,
            asked: false,
            failed,
            delay,
        };
        self.state(at).life = Life::Group(group);
    }

    fn restart_on(&mut self, at: usize, mut group: Group) -> bool {
        if let Stage::Stopping {
            left,
            asked,
            failed,
            delay,
        } = &mut group.stage
        {
            let (failed, delay) = (*failed, *delay);
            let moved = match left.last() {
                Some(&child) if !*asked => {
                    *asked = true;
                    if self.restart_type(child) == RestartType::Temporary {
                        self.trace.reached.insert(Reached::TemporaryInGroup);
                        self.end(child, StopCause::Removal);
                    } else {
                        self.stop(child, StopCause::Sibling);
                    }
                    true
                }
                Some(&child) if self.nodes[child].is_active() => false,
                Some(_) => {
                    left.pop();
                    *asked = false;
                    true
                }
                None => {
                    self.end_stopping(at, &mut group, failed, delay);
                    true
                }
            };
            self.state(at).life = Life::Group(group);
            return moved;
        }
        self.start_on(at, group)
    }

    /// All are down: those that failed meanwhile start again with the others, after the longest delay.
    fn end_stopping(&mut self, at: usize, group: &mut Group, failed: usize, delay: u64) {
        let mut longest = delay;
        let mut notices = self.state(at).notices.clone();
        notices.retain(|notice| match *notice {
            Notice::Restart { child, delay, .. } if self.in_group(at, failed, child) => {
                longest = longest.max(delay);
                false
            }
            _ => true,
        });
        if notices.len() < self.state(at).notices.len() {
            self.reach(Reached::FailureInGroup);
        }
        self.state(at).notices = notices;
        let came = self.group_of(at, failed).into_iter();
        let came = came.filter(|&child| {
            group.members.iter().all(|&member| member < child) && self.nodes[child].waits()
        });
        group.members.extend(came.collect::<Vec<_>>());
        group.until = group.until.max(self.now + longest);
        group.stage = Stage::Starting {
            gone: 0,
            since: None,
        };
    }

    fn start_on(&mut self, at: usize, mut group: Group) -> bool {
        let heard = |notice: &Notice| *notice != Notice::SignificantEnded;
        if let Some(place) = self.state(at).notices.iter().position(heard) {
            match self.state(at).notices.remove(place) {
                Notice::Restart {
                    child,
                    generation,
                    delay,
                } if self.still_waits(child, generation) => {
                    self.reach(Reached::FailedStartInGroup);
                    self.begin_group(at, group, child, delay);
                }
                Notice::Escalate => self.give_up(at),
                _ => self.state(at).life = Life::Group(group),
            }
            return true;
        }
        let Stage::Starting { gone, since } = &mut group.stage else {
            panic!("it starts")
        };
        // Nobody starts any more once the tree shuts down: its own stop comes next.
        if group.until > self.now || self.closing {
            self.state(at).life = Life::Group(group);
            return false;
        }
        if let Some(before) = *since {
            let child = group.members[*gone - 1];
            let moved = match self.member_started(at, child, before) {
                Start::Pending => false,
                Start::Over => {
                    *since = None;
                    true
                }
            };
            self.state(at).life = Life::Group(group);
            return moved;
        }
        let Some(&child) = group.members.get(*gone) else {
            if group.begun {
                let started = group
                    .members
                    .iter()
                    .filter(|&&child| self.nodes[child].is_active())
                    .count();
                self.log_scope(at, Step::GroupEnded(started));
            }
            if !self.nodes[at].ready {
                self.all_started(at);
            }
            return true;
        };
        *gone += 1;
        let node = &mut self.nodes[child];
        if node.end.is_none() {
            *since = Some(node.generation);
            node.group_hold = false;
        }
        self.state(at).life = Life::Group(group);
        true
    }

    /// Whether the group goes on past a member: it has started, or will not by itself.
    fn member_started(&self, at: usize, child: usize, before: u64) -> Start {
        let alone = self.scope_of(at).strategy == SupervisionStrategy::OneForOne;
        let node = &self.nodes[child];
        let started = node.generation > before && node.is_active() && node.ready;
        let held = !node.is_active() && (node.hold.is_some() || node.end.is_some());
        // Under OneForOne it retries by itself.
        let passed = alone && !self.starts_explicitly(child);
        // One that is ready too late, while it is stopped for that, has not started.
        let started = started && (!alone || node.stop.is_none());
        if started || held || node.is_ended() || passed {
            Start::Over
        } else {
            Start::Pending
        }
    }

    // Its end.

    /// Stops all children, and then ends so.
    fn begin_stopping(&mut self, at: usize, ending: Ending) {
        if at == ROOT && self.nodes[ROOT].hold.is_none() && !self.closing {
            self.close();
            self.by_itself = true;
        }
        if self.closing {
            self.end_idle(at);
        }
        self.state(at).life = Life::Stopping {
            left: self.children(at),
            asked: false,
            ending,
        };
    }

    /// What has no run need not wait for its turn.
    fn end_idle(&mut self, at: usize) {
        for child in self.children(at) {
            if !self.nodes[child].is_active() {
                self.end(child, StopCause::Shutdown);
            }
            if let What::Scope(_) = self.nodes[child].what {
                self.end_idle(child);
            }
        }
    }

    fn stop_on(&mut self, at: usize, mut left: Vec<usize>, asked: bool, ending: Ending) -> bool {
        let all = self.scope_of(at).order == ShutdownOrder::Parallel;
        if !asked && !left.is_empty() {
            let these = if all { 0 } else { left.len() - 1 };
            for &child in left[these..].iter().rev() {
                self.ask(child, StopCause::Shutdown);
            }
            self.state(at).life = Life::Stopping {
                left,
                asked: true,
                ending,
            };
            return true;
        }
        let Some(place) = left
            .iter()
            .rposition(|&child| (all || child == left[left.len() - 1]) && self.is_over(child))
        else {
            if left.is_empty() {
                self.exit(at, ending);
                return true;
            }
            self.state(at).life = Life::Stopping {
                left,
                asked,
                ending,
            };
            return false;
        };
        let child = left.remove(place);
        self.settled(child);
        self.state(at).life = Life::Stopping {
            left,
            asked: all,
            ending,
        };
        true
    }

    /// Asks a child to end, and notes whether that had anything to end.
    pub fn ask(&mut self, at: usize, cause: StopCause) {
        let node = &mut self.nodes[at];
        let alive = node.is_active();
        node.asked.get_or_insert(alive);
        self.end(at, cause);
    }

    pub fn is_over(&self, at: usize) -> bool {
        !self.nodes[at].launched
    }

    /// It has ended as it was asked to.
    pub fn settled(&mut self, at: usize) {
        if self.closing {
            self.account(at);
        } else {
            self.nodes[at].asked = None;
        }
    }

    /// Held until somebody releases it, its run stopped.
    pub fn quarantine(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(Hold::Quarantined(_)) = node.hold {
            return;
        }
        node.hold = Some(Hold::Quarantined(None));
        self.log(at, Step::Quarantined(None));
        self.nodes[at].cut_backoff();
        self.stop(at, StopCause::Quarantine);
    }
}
