use std::{collections::BTreeMap, sync::Arc, time::Duration};

use supervisor_layers::{HoldReason, LifecycleEvent, RestartAction, TaskExit};

use super::{Cause, Ending, Finding, LifeSummary, Next};
use crate::{
    EventKind, SupervisorEvent, TreeEvent,
    shutdown::ChildShutdownStatus,
    spec::{EscalationPolicy, SupervisorPath},
};

/// What was heard of one life so far.
pub(super) struct Witness {
    life: LifeSummary,
    children: BTreeMap<SupervisorPath, Child>,
    groups: BTreeMap<SupervisorPath, Groups>,
    /// Exits by their sequence: what others are a consequence of.
    causes: BTreeMap<u64, Cause>,
    /// Commands by their sequence: who, and why.
    commands: BTreeMap<u64, Arc<str>>,
    gave_up: Vec<Finding>,
    unrecorded: Vec<Finding>,
    aborted: Vec<SupervisorPath>,
    left: Vec<SupervisorPath>,
    next: u64,
}

/// A child as it was heard of last.
#[derive(Default)]
struct Child {
    failures: u64,
    first: Duration,
    last: Option<Cause>,
    held: Option<Held>,
    stuck: Option<(u64, Duration, Duration)>,
    /// It stays down since then.
    down: Option<Duration>,
    /// It waits until then.
    until: Option<Duration>,
}

enum Held {
    Quarantined {
        at: Duration,
        reason: Arc<str>,
        until: Option<Duration>,
    },
    Paused {
        at: Duration,
        by: Option<Arc<str>>,
    },
}

struct Groups {
    times: u64,
    first: Duration,
    last: Duration,
    after: BTreeMap<SupervisorPath, u64>,
}

/// So many failures of a child that runs again are worth telling.
const FAILING: u64 = 2;

impl Witness {
    pub(super) fn of(first: &SupervisorEvent) -> Self {
        Self {
            life: LifeSummary {
                epoch: first.epoch.clone(),
                from: first.at,
                to: first.at,
                uptime: first.uptime,
                events: 0,
                missed: first.sequence - 1,
                ending: Ending::Open,
                failures: 0,
                restarts: 0,
                findings: Vec::new(),
            },
            children: BTreeMap::new(),
            groups: BTreeMap::new(),
            causes: BTreeMap::new(),
            commands: BTreeMap::new(),
            gave_up: Vec::new(),
            unrecorded: Vec::new(),
            aborted: Vec::new(),
            left: Vec::new(),
            next: first.sequence,
        }
    }

    pub(super) fn epoch(&self) -> &Arc<str> {
        &self.life.epoch
    }

    /// After a gap of so many, as far as the file told of it.
    pub(super) fn hear(&mut self, event: &SupervisorEvent, told_missed: u64) {
        let missed = event.sequence.saturating_sub(self.next).max(told_missed);
        self.life.missed += if self.life.events == 0 { 0 } else { missed };
        self.next = event.sequence + 1;
        self.life.events += 1;
        (self.life.to, self.life.uptime) = (event.at, event.uptime);
        match &event.kind {
            EventKind::Lifecycle(step) => self.lifecycle(event, step),
            EventKind::Tree(step) => self.tree(event, step),
        }
    }

    fn lifecycle(&mut self, event: &SupervisorEvent, step: &LifecycleEvent) {
        let at = event.uptime;
        let by = event
            .correlation_id
            .and_then(|command| self.commands.get(&command).cloned());
        let child = self.children.entry(event.path.clone()).or_default();
        match step {
            LifecycleEvent::Starting => {
                self.life.restarts += u64::from(event.generation > 1);
                (child.until, child.down, child.held) = (None, None, None);
            }
            LifecycleEvent::Exited { exit, message } => {
                let cause = Cause {
                    path: event.path.clone(),
                    generation: event.generation,
                    exit: *exit,
                    message: message.clone(),
                };
                child.stuck = None;
                if !matches!(exit, TaskExit::Completed | TaskExit::Cancelled) {
                    self.life.failures += 1;
                    if child.failures == 0 {
                        child.first = at;
                    }
                    child.failures += 1;
                    child.last = Some(cause.clone());
                }
                remember(&mut self.causes, event.sequence, cause);
            }
            LifecycleEvent::RestartDecided { decision } => match decision.action {
                RestartAction::Fail | RestartAction::GiveUp => child.down = Some(at),
                RestartAction::Restart { delay } | RestartAction::RestartGroup { delay } => {
                    child.until = Some(at + delay);
                }
                _ => {}
            },
            LifecycleEvent::Quarantined {
                reason,
                release_after,
            } => {
                child.held = Some(Held::Quarantined {
                    at,
                    reason: reason.clone(),
                    until: release_after.map(|after| at + after),
                });
            }
            LifecycleEvent::Paused => child.held = Some(Held::Paused { at, by }),
            LifecycleEvent::Released {
                from: HoldReason::Paused | HoldReason::Quarantined,
            }
            | LifecycleEvent::Resumed => child.held = None,
            LifecycleEvent::Stuck { lasts } => {
                child.stuck = Some((event.generation, at, *lasts));
            }
            _ => {}
        }
    }

    fn tree(&mut self, event: &SupervisorEvent, step: &TreeEvent) {
        let at = event.uptime;
        match step {
            TreeEvent::Removed => {
                self.children.remove(&event.path);
            }
            TreeEvent::GroupRestartBegun { failed, .. } => {
                let groups = self.groups.entry(event.path.clone()).or_insert(Groups {
                    times: 0,
                    first: at,
                    last: at,
                    after: BTreeMap::new(),
                });
                groups.times += 1;
                groups.last = at;
                *groups.after.entry(failed.clone()).or_default() += 1;
            }
            TreeEvent::Escalated { policy, reason } => {
                let cause = event.correlation_id.and_then(|id| self.causes.get(&id));
                self.gave_up.push(Finding::GaveUp {
                    path: event.path.clone(),
                    at,
                    policy: *policy,
                    reason: reason.clone(),
                    cause: cause.cloned(),
                });
            }
            TreeEvent::CommandAccepted {
                requested_by,
                reason,
                ..
            } => {
                let by = format!("{requested_by}: {reason}").into();
                remember(&mut self.commands, event.sequence, by);
            }
            TreeEvent::JournalFailed { path, error } | TreeEvent::AuditFailed { path, error } => {
                self.unrecorded.push(Finding::Unrecorded {
                    file: path.clone(),
                    error: error.clone(),
                    over: false,
                });
            }
            TreeEvent::JournalRecovered { path } | TreeEvent::AuditRecovered { path, .. } => {
                for finding in &mut self.unrecorded {
                    if let Finding::Unrecorded { file, over, .. } = finding {
                        *over |= file == path;
                    }
                }
            }
            TreeEvent::ShutdownStageEntered { .. } => self.life.ending = Ending::ShuttingDown,
            TreeEvent::ChildShutdown { status } => match status {
                ChildShutdownStatus::Aborted | ChildShutdownStatus::LateReport => {
                    self.aborted.push(event.path.clone());
                }
                ChildShutdownStatus::AbortFailed => self.left.push(event.path.clone()),
                _ => {}
            },
            TreeEvent::ShutdownCompleted { clean } => {
                let by = event
                    .correlation_id
                    .and_then(|command| self.commands.get(&command).cloned());
                self.life.ending = Ending::ShutDown { clean: *clean, by };
            }
            _ => {}
        }
    }

    /// What it all comes to.
    pub(super) fn tell(self) -> LifeSummary {
        let mut life = self.life;
        let over = matches!(life.ending, Ending::ShutDown { .. });
        let now = life.uptime;
        let next = |until: Option<Duration>| match until {
            _ if over => Next::Gone,
            Some(until) => Next::RunsIn {
                remaining: until.saturating_sub(now),
            },
            None => Next::Nothing,
        };
        let mut findings = self.gave_up;
        findings.extend(self.unrecorded);
        if !self.left.is_empty() {
            findings.push(Finding::LeftAlive { paths: self.left });
        }
        if !self.aborted.is_empty() {
            findings.push(Finding::AbortedInShutdown {
                paths: self.aborted,
            });
        }
        for (path, groups) in self.groups {
            if groups.times >= FAILING {
                findings.push(Finding::GroupRestarts {
                    path,
                    times: groups.times,
                    within: groups.last - groups.first,
                    after: groups.after,
                });
            }
        }
        for (path, child) in self.children {
            if let Some((generation, at, lasts)) = child.stuck {
                findings.push(Finding::Stuck {
                    path: path.clone(),
                    generation,
                    at,
                    lasts,
                });
            }
            match (child.held, child.down) {
                (Some(Held::Quarantined { at, reason, until }), _) => {
                    findings.push(Finding::Quarantined {
                        path,
                        at,
                        reason,
                        failures: child.failures,
                        cause: child.last,
                        next: next(until),
                    });
                }
                (Some(Held::Paused { at, by }), _) => {
                    if !over {
                        findings.push(Finding::Paused { path, at, by });
                    }
                }
                (None, Some(at)) => findings.push(Finding::Down {
                    path,
                    at,
                    cause: child.last,
                }),
                (None, None) if child.failures >= FAILING => findings.push(Finding::Failing {
                    path,
                    failures: child.failures,
                    cause: child.last,
                    at: child.first,
                    next: match child.until {
                        None if !over => Next::Runs,
                        until => next(until),
                    },
                }),
                (None, None) => {}
            }
        }
        findings.sort_by_key(Finding::rank);
        life.findings = findings;
        life
    }
}

/// What follows from an event follows soon: a long record needs no more memory than a short one.
fn remember<T>(causes: &mut BTreeMap<u64, T>, sequence: u64, cause: T) {
    const RECENT: usize = 10_000;
    causes.insert(sequence, cause);
    if causes.len() > RECENT {
        causes.pop_first();
    }
}

/// What became of a supervisor that gave up, in words.
pub(super) fn fate(path: &SupervisorPath, policy: EscalationPolicy) -> &'static str {
    match policy {
        EscalationPolicy::EscalateToParent if path.is_root() => "and with it the tree",
        EscalationPolicy::EscalateToParent => "and failed towards its parent",
        EscalationPolicy::ShutdownTree => "and had the tree shut down",
        EscalationPolicy::QuarantineScope => "and is held",
    }
}
