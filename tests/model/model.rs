//! The reference model: a tree as plain data, and a clock that is a number.
//!
//! A history is made in rounds: everybody who can take a step takes one, in start order, until nobody can;
//! then time goes on to the next moment at which somebody can. What a child's run does is in `run`, what a
//! supervisor's life does in `life`, what a person orders in `command`.

use std::collections::BTreeMap;

use rust_supervisor::{
    ChildShutdownStatus, RestartType, StopCause, TaskExit, layers::context::HoldReason,
};

use super::{
    command::Waiting,
    compare::compare,
    life::Life,
    plan::{Member, Plan, Scope, Worker, join},
    trace::{Entry, Look, Outcome, Reached, Started, Step, Trace},
};

pub const ROOT: usize = 0;

/// The healthy time of a child without a backoff.
pub const HEALTHY: u64 = 60_000;

pub struct Model<'a> {
    pub plan: &'a Plan,
    pub turns: Turns,
    pub now: u64,
    /// All that ever were, a supervisor before its children, siblings in start order.
    pub nodes: Vec<Node<'a>>,
    pub closing: bool,
    pub by_itself: bool,
    /// A supervisor gave up for the whole tree.
    pub gave_up: bool,
    pub ended: bool,
    /// When the script began, and how far it has come.
    pub script: Option<(u64, usize)>,
    pub waiting: Vec<(usize, Waiting)>,
    pub trace: Trace,
}

/// A child, or the root.
pub struct Node<'a> {
    pub path: String,
    pub parent: usize,
    pub what: What<'a>,
    pub declared: bool,
    /// Still among its supervisor's children.
    pub present: bool,
    /// Somebody is removing it.
    pub leaving: bool,
    /// Its supervisor has launched it and it has not been ended since.
    pub launched: bool,
    pub phase: Phase,
    pub generation: u64,
    pub attempt: u32,
    pub ready: bool,
    pub began: u64,
    pub stop: Option<(StopCause, u64)>,
    pub end: Option<StopCause>,
    pub hold: Option<Hold>,
    pub group_hold: bool,
    /// A failure before it has started is final.
    pub first_start: bool,
    /// How its first start went.
    pub first: Option<bool>,
    /// It was down for good when somebody asked for another run.
    pub again: bool,
    pub exits: BTreeMap<TaskExit, u64>,
    pub last: Option<TaskExit>,
    pub failures: u32,
    pub fuse_log: Vec<u64>,
    pub fuse: Option<(u32, bool)>,
    /// Whether a run was alive when it was asked to end.
    pub asked: Option<bool>,
    pub accounted: bool,
}

pub enum What<'a> {
    Worker(&'a Worker),
    Scope(Box<State<'a>>),
}

/// A supervisor's own state.
pub struct State<'a> {
    pub scope: &'a Scope,
    pub life: Life,
    pub notices: Vec<Notice>,
    pub charges: Vec<u64>,
    pub group_restarts: u64,
}

/// What a child's end means to its supervisor.
#[derive(Clone, Copy, PartialEq)]
pub enum Notice {
    Restart {
        child: usize,
        generation: u64,
        delay: u64,
    },
    Escalate,
    SignificantEnded,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Phase {
    Idle,
    Backoff(u64),
    Active,
    Finished,
    Failed,
    Aborted,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Hold {
    Paused,
    Quarantined(Option<u64>),
}

/// In which order those take their steps who can at the same moment: as they stand, the other way round, or
/// in one of many mixed orders.
#[derive(Clone, Copy)]
pub struct Turns(u64);

/// So many orders are tried.
const SCHEDULES: u64 = 6;

impl Turns {
    /// Whose turn it is, and how many steps it may take.
    fn turn(&mut self, turn: usize, of: usize) -> (usize, usize) {
        match self.0 {
            0 => (turn, usize::MAX),
            1 => (of - 1 - turn, usize::MAX),
            _ => {
                let dice = usize::try_from(self.dice() >> 40).unwrap();
                (dice % of, if dice & 64 == 0 { 1 } else { usize::MAX })
            }
        }
    }

    /// Whether what comes from outside comes at once.
    pub fn outside(&mut self) -> bool {
        match self.0 {
            0 | 1 => self.0 == 0,
            _ => self.dice() >> 63 == 0,
        }
    }

    /// A linear congruence; its high bits are good enough here.
    fn dice(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

/// Why a plan is not followed: what came of it would be a matter of scheduling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tie;

impl<'a> Model<'a> {
    /// What comes of a plan, unless that depends on whose turn it is first of those who can take a step at
    /// the same moment.
    pub fn run(plan: &'a Plan) -> Result<Trace, Tie> {
        let one = Self::run_in(Turns(0), plan)?;
        for turns in 1..SCHEDULES {
            let other = Self::run_in(Turns(turns), plan)?;
            compare(&one, &other).map_err(|_| Tie)?;
        }
        Ok(one)
    }

    fn run_in(turns: Turns, plan: &'a Plan) -> Result<Trace, Tie> {
        let mut model = Self {
            plan,
            turns,
            now: 0,
            nodes: Vec::new(),
            closing: false,
            by_itself: false,
            gave_up: false,
            ended: false,
            script: None,
            waiting: Vec::new(),
            trace: Trace {
                answers: vec![None; plan.script.len() + 1],
                ..Trace::default()
            },
        };
        model.add_scope(&plan.root, "/".to_owned(), ROOT);
        model.nodes[ROOT].launched = true;
        model.settle();
        while let Some(next) = model.next_moment()? {
            model.now = next;
            model.order();
            model.settle();
        }
        if model.trace.start == Some(Started::Yes) {
            let look = model.look();
            model.trace.looks.push((model.now, look));
        }
        Ok(model.trace)
    }

    /// Rounds, until nobody can take a step.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            let nodes = self.nodes.len();
            for turn in 0..nodes {
                let (at, steps) = self.turns.turn(turn, nodes);
                // It goes on until it has to wait, or others get in between.
                moved |= (0..steps).take_while(|_| self.step(at)).count() > 0;
            }
            moved |= self.answer();
            if !moved && self.is_settled() {
                return;
            }
        }
    }

    /// In a mixed order somebody may not have had a turn.
    fn is_settled(&mut self) -> bool {
        !(0..self.nodes.len()).any(|at| self.step(at)) && !self.answer()
    }

    fn step(&mut self, at: usize) -> bool {
        let node = &self.nodes[at];
        if node.phase == Phase::Active {
            return match node.what {
                What::Worker(worker) => self.run_on(at, worker),
                What::Scope(_) => self.live_on(at),
            };
        }
        if !node.launched {
            return false;
        }
        if node.end.is_some() || self.closing {
            self.leave(at);
            return true;
        }
        match (node.hold, node.phase) {
            (Some(Hold::Quarantined(Some(until))), _) if until <= self.now => {
                self.release(at);
                return true;
            }
            (Some(_), _) => return false,
            (None, Phase::Backoff(until)) if until > self.now => return false,
            (None, Phase::Finished | Phase::Failed | Phase::Aborted) if !node.again => {
                return false;
            }
            _ => {}
        }
        if !node.group_hold {
            self.begin(at);
            return true;
        }
        false
    }

    /// When somebody can take a step next.
    fn next_moment(&self) -> Result<Option<u64>, Tie> {
        let mut moments = Vec::new();
        for at in 0..self.nodes.len() {
            self.moments(at, &mut moments);
        }
        moments.extend(self.next_line());
        moments.retain(|&moment| moment > self.now);
        moments.sort_unstable();
        match moments.as_slice() {
            [first, second, ..] if first == second => Err(Tie),
            moments => Ok(moments.first().copied()),
        }
    }

    fn moments(&self, at: usize, moments: &mut Vec<u64>) {
        let node = &self.nodes[at];
        if node.phase == Phase::Active {
            match &node.what {
                What::Worker(worker) => self.run_moments(at, worker, moments),
                What::Scope(state) => moments.extend(state.life.moment()),
            }
        } else if node.launched {
            match (node.hold, node.phase) {
                (Some(Hold::Quarantined(until)), _) => moments.extend(until),
                (None, Phase::Backoff(until)) if !node.group_hold => moments.push(until),
                _ => {}
            }
        }
    }

    // The tree.

    pub fn add_scope(&mut self, scope: &'a Scope, path: String, parent: usize) {
        let state = State {
            scope,
            life: Life::Attend,
            notices: Vec::new(),
            charges: Vec::new(),
            group_restarts: 0,
        };
        let at = self.add(path.clone(), parent, What::Scope(Box::new(state)), true);
        for (place, member) in scope.members.iter().enumerate() {
            let path = join(&path, &member.name(place));
            match member {
                Member::Worker(worker) => {
                    self.add(path, at, What::Worker(worker), true);
                }
                Member::Scope(scope) => self.add_scope(scope, path, at),
            }
        }
    }

    pub fn add(&mut self, path: String, parent: usize, what: What<'a>, declared: bool) -> usize {
        self.nodes.push(Node {
            path,
            parent,
            what,
            declared,
            present: true,
            leaving: false,
            launched: false,
            phase: Phase::Idle,
            generation: 0,
            attempt: 0,
            ready: false,
            began: 0,
            stop: None,
            end: None,
            hold: None,
            group_hold: false,
            first_start: false,
            first: None,
            again: false,
            exits: BTreeMap::new(),
            last: None,
            failures: 0,
            fuse_log: Vec::new(),
            fuse: None,
            asked: None,
            accounted: false,
        });
        self.nodes.len() - 1
    }

    pub fn children(&self, scope: usize) -> Vec<usize> {
        let is_child =
            |&at: &usize| at != ROOT && self.nodes[at].parent == scope && self.nodes[at].present;
        (0..self.nodes.len()).filter(is_child).collect()
    }

    pub fn find(&self, path: &str) -> Option<usize> {
        (0..self.nodes.len()).find(|&at| self.nodes[at].path == path && self.is_there(at))
    }

    /// It and all above it are present.
    pub fn is_there(&self, at: usize) -> bool {
        at == ROOT || (self.nodes[at].present && self.is_there(self.nodes[at].parent))
    }

    pub fn state(&mut self, scope: usize) -> &mut State<'a> {
        match &mut self.nodes[scope].what {
            What::Scope(state) => state,
            What::Worker(_) => panic!("no supervisor"),
        }
    }

    pub fn scope_of(&self, scope: usize) -> &'a Scope {
        match &self.nodes[scope].what {
            What::Scope(state) => state.scope,
            What::Worker(_) => panic!("no supervisor"),
        }
    }

    pub fn restart_type(&self, at: usize) -> RestartType {
        match &self.nodes[at].what {
            // What decides at the root is whether it is held.
            _ if at == ROOT => RestartType::Temporary,
            What::Worker(worker) => worker.restart,
            What::Scope(state) => state.scope.restart,
        }
    }

    pub fn is_significant(&self, at: usize) -> bool {
        match &self.nodes[at].what {
            What::Worker(worker) => worker.significant,
            What::Scope(state) => at != ROOT && state.scope.significant,
        }
    }

    /// Counts one restart against a supervisor's intensity; `false` is one too many.
    pub fn charge(&mut self, scope: usize) -> bool {
        let now = self.now;
        let state = self.state(scope);
        state.charges.push(now);
        let limit = state.scope.intensity;
        within(&state.charges, limit.window, now) <= limit.count
    }

    // What it leaves behind.

    pub fn reach(&mut self, what: Reached) {
        self.trace.reached.insert(what);
    }

    pub fn log(&mut self, at: usize, step: Step) {
        let node = &self.nodes[at];
        let attempt = match step {
            Step::Added | Step::Removed => 0,
            _ => node.attempt,
        };
        self.trace.steps.push(Entry {
            at: self.now,
            path: node.path.clone(),
            generation: node.generation,
            attempt,
            step,
        });
    }

    pub fn log_scope(&mut self, scope: usize, step: Step) {
        self.trace.steps.push(Entry {
            at: self.now,
            path: self.nodes[scope].path.clone(),
            generation: 0,
            attempt: 0,
            step,
        });
    }

    pub fn started(&mut self, how: Started) {
        if self.trace.start.is_none() {
            if how == Started::Yes {
                self.script = Some((self.now, 0));
            }
            self.trace.start = Some(how);
        }
    }

    /// How a child took the shutdown, once.
    pub fn account(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if std::mem::replace(&mut node.accounted, true) {
            return;
        }
        let status = match (node.asked, node.last) {
            (None | Some(false), _) => ChildShutdownStatus::AlreadyExited,
            (_, Some(TaskExit::Aborted)) => ChildShutdownStatus::Aborted,
            _ => ChildShutdownStatus::Graceful,
        };
        let (path, generation) = (node.path.clone(), node.generation);
        self.trace.shutdowns.push((path, generation, status));
    }

    /// The tree is to end, and nobody starts any more.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            let under_way = self.waiting.iter().map(|(_, waiting)| match waiting {
                Waiting::Gone { .. } => Reached::RemovalAtTheEnd,
                _ => Reached::CommandAtTheEnd,
            });
            self.trace.reached.extend(under_way);
        }
    }

    pub fn end_tree(&mut self, outcome: Outcome) {
        self.close();
        self.ended = true;
        self.nodes[ROOT].launched = false;
        for at in 1..self.nodes.len() {
            if self.is_there(at) {
                self.account(at);
            }
        }
        self.trace.outcome = Some(match outcome {
            _ if self.gave_up => Outcome::GaveUp,
            Outcome::Finished if !self.by_itself => Outcome::ShutDown,
            outcome => outcome,
        });
        self.started(Started::Stopped);
    }

    pub fn look(&self) -> BTreeMap<String, Look> {
        (0..self.nodes.len())
            .filter(|&at| self.is_there(at))
            .map(|at| (self.nodes[at].path.clone(), self.look_at(at)))
            .collect()
    }

    fn look_at(&self, at: usize) -> Look {
        let node = &self.nodes[at];
        let (status, until) = self.status(at);
        let state = match &node.what {
            What::Worker(_) => None,
            What::Scope(state) => Some(state),
        };
        Look {
            status,
            stop: node.stop.map(|(cause, _)| cause),
            ready: node.ready && node.phase == Phase::Active,
            generation: node.generation,
            attempt: node.attempt,
            restarts: node.generation.saturating_sub(1),
            exits: node.exits.clone(),
            remaining: until.map(|until| until.saturating_sub(self.now)),
            fuse: node.fuse,
            intensity: state.map(|state| {
                let limit = state.scope.intensity;
                within(&state.charges, limit.window, self.now).min(limit.count + 1)
            }),
            group_restarts: state.map(|state| state.group_restarts),
        }
    }

    pub fn status(&self, at: usize) -> (&'static str, Option<u64>) {
        let node = &self.nodes[at];
        match (node.phase, node.hold) {
            (Phase::Active, _) if node.stop.is_some() => ("stopping", None),
            (Phase::Active, _) if node.ready => ("running", None),
            (Phase::Active, _) => ("starting", None),
            (_, Some(Hold::Paused)) => ("paused", None),
            (_, Some(Hold::Quarantined(until))) => ("quarantined", until),
            (Phase::Backoff(until), None) if until > self.now => ("backing_off", Some(until)),
            (Phase::Idle | Phase::Backoff(_), None) => ("waiting", None),
            (Phase::Finished, None) => ("finished", None),
            (Phase::Failed, None) => ("failed", None),
            (Phase::Aborted, None) => ("aborted", None),
        }
    }
}

impl Node<'_> {
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Down, and nothing but a restart by hand brings another run.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Finished | Phase::Failed | Phase::Aborted) && !self.again
    }

    /// Waits for its group.
    pub fn waits(&self) -> bool {
        self.group_hold && !self.is_active()
    }

    /// Fuse, backoff and attempts as new.
    pub fn forget(&mut self) {
        self.failures = 0;
        self.fuse_log.clear();
        self.fuse = None;
        self.attempt = 0;
        self.cut_backoff();
    }

    pub fn cut_backoff(&mut self) {
        if let Phase::Backoff(_) = self.phase {
            self.phase = Phase::Idle;
        }
    }

    pub fn released_from(&self) -> Option<HoldReason> {
        self.hold.map(|hold| match hold {
            Hold::Paused => HoldReason::Paused,
            Hold::Quarantined(_) => HoldReason::Quarantined,
        })
    }
}

/// How many lie within the window; one exactly as old still counts.
pub fn within(times: &[u64], window: u64, now: u64) -> u32 {
    let count = times.iter().filter(|&&then| now - then <= window).count();
    u32::try_from(count).unwrap()
}
