//! What holds of every history, whatever the model says of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use rust_supervisor::{
    EventKind, LifecycleEvent, RestartAction, StopCause, SupervisorEvent, TreeEvent,
};

use super::{
    compare::same,
    plan::Plan,
    real::{Left, Real, Seen, What},
};

pub fn hold(plan: &Plan, real: &Real) -> Result<(), String> {
    one_run_at_a_time(&real.seen)?;
    let nothing = Left {
        tasks: 0,
        references: 0,
    };
    same("what is left", &nothing, &real.left)?;
    let mut journal = Journal {
        side_by_side: plan.parallel(),
        ..Journal::default()
    };
    for event in &real.events {
        journal
            .read(event)
            .map_err(|broken| format!("{broken}: {event}"))?;
    }
    if !journal.alive.is_empty() {
        return Err(format!("no exit of {:?}", journal.alive));
    }
    Ok(())
}

/// As the runs themselves saw it.
fn one_run_at_a_time(seen: &[Seen]) -> Result<(), String> {
    let mut alive: HashMap<u64, u64> = HashMap::new();
    for seen in seen {
        match seen.what {
            What::Begins => {
                if let Some(other) = alive.insert(seen.instance, seen.generation) {
                    return Err(format!("run {other} still lives: {seen:?}"));
                }
            }
            What::Ends => drop(alive.remove(&seen.instance)),
            What::IsStopped => {}
        }
    }
    Ok(())
}

/// What the journal has told so far.
#[derive(Default)]
struct Journal {
    side_by_side: Vec<String>,
    closing: bool,
    /// Children that were taken out, and the last run of each.
    removed: HashSet<u64>,
    last: HashMap<u64, u64>,
    held: HashSet<u64>,
    /// Runs that are alive, by instance: whose child's, and the event that began it.
    alive: BTreeMap<u64, (String, u64)>,
    /// Supervisors whose group restarts.
    groups: HashMap<String, Group>,
    /// Somebody else has a say in when these begin next.
    touched: HashSet<String>,
}

struct Group {
    begun: u64,
    /// The last member that has begun.
    last: u64,
}

impl Journal {
    fn read(&mut self, event: &SupervisorEvent) -> Result<(), &'static str> {
        let path = event.path.to_string();
        let parent = parent(&path).to_owned();
        match &event.kind {
            EventKind::Lifecycle(step) => match step {
                LifecycleEvent::Starting => self.begins(event, path, &parent)?,
                LifecycleEvent::Exited { .. } => {
                    if self.last.get(&event.instance) != Some(&event.generation) {
                        return Err("not the last run");
                    }
                    if self.alive.remove(&event.instance).is_none() {
                        return Err("a second exit");
                    }
                }
                LifecycleEvent::RestartDecided { decision } => {
                    if let RestartAction::Stop { cause } = decision.action {
                        self.stopped(event, cause, &path, &parent)?;
                    }
                }
                LifecycleEvent::Paused | LifecycleEvent::Quarantined { .. } => {
                    self.held.insert(event.instance);
                }
                LifecycleEvent::Resumed | LifecycleEvent::Released { .. } => {
                    self.held.remove(&event.instance);
                    self.touched.insert(path);
                }
                _ => {}
            },
            EventKind::Tree(step) => match step {
                TreeEvent::ShutdownStageEntered { .. } => self.closing = true,
                TreeEvent::CommandAccepted { .. } | TreeEvent::ChildAdded => {
                    self.touched.insert(path);
                }
                TreeEvent::Removed => {
                    if self.alive.contains_key(&event.instance) {
                        return Err("removed while it lives");
                    }
                    self.removed.insert(event.instance);
                }
                TreeEvent::GroupRestartBegun { .. } => {
                    let group = Group {
                        begun: event.sequence,
                        last: 0,
                    };
                    self.groups.insert(scope(&path).to_owned(), group);
                }
                TreeEvent::GroupRestartEnded { .. } => {
                    self.groups.remove(scope(&path));
                }
                _ => {}
            },
        }
        Ok(())
    }

    fn begins(
        &mut self,
        event: &SupervisorEvent,
        path: String,
        parent: &str,
    ) -> Result<(), &'static str> {
        let instance = event.instance;
        if self.closing {
            return Err("begins though the tree shuts down");
        }
        if self.held.contains(&instance) || self.removed.contains(&instance) {
            return Err("begins though it is held or was removed");
        }
        let last = self.last.insert(instance, event.generation).unwrap_or(0);
        if event.generation != last + 1 {
            return Err("generations do not count up");
        }
        // What stands below begins under a new life of its own supervisor.
        self.groups.remove(scope(&path));
        let by_itself = !self.touched.remove(&path);
        if let Some(group) = self.groups.get_mut(parent).filter(|_| by_itself) {
            if instance < group.last {
                return Err("begins after one that stands behind it");
            }
            group.last = instance;
        }
        match self.alive.insert(instance, (path, event.sequence)) {
            None => Ok(()),
            Some(_) => Err("begins while another lives"),
        }
    }

    /// In reverse order one is stopped when all have ended that stand behind it.
    fn stopped(
        &self,
        event: &SupervisorEvent,
        cause: StopCause,
        path: &str,
        parent: &str,
    ) -> Result<(), &'static str> {
        let since = match cause {
            StopCause::Sibling => self.groups.get(parent).map_or(0, |group| group.begun),
            StopCause::Shutdown if is_worker(path) => match self.reverse(parent) {
                true => u64::MAX,
                false => 0,
            },
            _ => 0,
        };
        let mut behind = self.alive.range(event.instance + 1..);
        let lives = behind.any(|(_, (other, begun))| {
            self::parent(other) == parent && other != "/" && *begun < since
        });
        match lives {
            true => Err("stopped before one that stands behind it has ended"),
            false => Ok(()),
        }
    }

    fn reverse(&self, parent: &str) -> bool {
        !self.side_by_side.iter().any(|scope| scope == parent)
    }
}

/// A supervisor's path as its children's paths begin with it.
fn scope(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A supervisor may also end the whole tree, and itself with it.
fn is_worker(path: &str) -> bool {
    !path.rsplit('/').next().unwrap_or_default().starts_with('s')
}
