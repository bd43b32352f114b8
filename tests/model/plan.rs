//! A history before it happens: a tree, what the runs of its children do, and what a person orders.
//!
//! All times are milliseconds.

use rust_supervisor::{
    AutoShutdown, EscalationPolicy, RestartType, ShutdownOrder, SupervisionStrategy,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub root: Scope,
    /// Begins when the tree has started. The tree is shut down after the last line.
    pub script: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    pub strategy: SupervisionStrategy,
    pub intensity: Limit,
    pub escalation: EscalationPolicy,
    pub auto_shutdown: AutoShutdown,
    pub order: ShutdownOrder,
    /// As a child; no meaning at the root.
    pub restart: RestartType,
    pub significant: bool,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Member {
    Worker(Worker),
    Scope(Scope),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    pub restart: RestartType,
    pub significant: bool,
    pub fuse: Option<Fuse>,
    pub backoff: Option<Delays>,
    pub explicit: bool,
    pub start_timeout: u64,
    pub grace: u64,
    /// What its runs do, in order; those after them are [`Run::STEADY`].
    pub runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub count: u32,
    pub window: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fuse {
    pub limit: Limit,
    pub blown: Blown,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Blown {
    /// Released after so long, or by hand only.
    Quarantine(Option<u64>),
    Escalate,
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    pub curve: Curve,
    pub initial: u64,
    pub max: u64,
    pub reset_after: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Curve {
    Constant,
    Linear,
    Exponential,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it says that it is ready, if its child has to; 0 in its first poll.
    pub ready: u64,
    /// When it ends by itself, and how; 0 in its first poll.
    pub end: Option<(u64, End)>,
    pub stop: Stop,
}

impl Run {
    /// Ready at once, and up until it is stopped.
    pub const STEADY: Self = Self {
        ready: 0,
        end: None,
        stop: Stop::Takes(0),
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum End {
    Completes,
    Fails,
    IsFatal,
    Panics,
}

/// What a run does when it is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Stop {
    /// Returns `Ok` after so long.
    Takes(u64),
    /// Fails after so long.
    Fails(u64),
    /// Does not listen, and goes on as planned.
    Deaf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Since the line before.
    pub after: u64,
    pub order: Order,
}

/// Children are meant by number, see [`Plan::target`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Everything that can be seen is compared.
    Look,
    Pause(u8),
    Resume(u8),
    Restart(u8),
    Quarantine(u8),
    Remove(u8),
    Add {
        under: u8,
        name: u8,
        child: Worker,
    },
    Shutdown,
}

impl Plan {
    /// The path a number means: of the root, of a declared child, or of one that the script adds.
    pub fn target(&self, number: u8) -> String {
        let mut paths = vec!["/".to_owned()];
        let mut scopes = vec!["/".to_owned()];
        collect("", &self.root, &mut paths, &mut scopes);
        for line in &self.script {
            if let Order::Add { under, name, .. } = &line.order {
                let scope = &scopes[place(*under, scopes.len())];
                let path = join(scope, &added(*name));
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        let at = place(number, paths.len());
        paths.swap_remove(at)
    }

    /// The supervisors whose children stop side by side; the root is "".
    pub fn parallel(&self) -> Vec<String> {
        let mut found = Vec::new();
        parallel("", &self.root, &mut found);
        found
    }

    /// The supervisor a number means; now and then something that is none.
    pub fn scope(&self, number: u8) -> String {
        let (mut paths, mut scopes) = (vec!["/".to_owned()], vec!["/".to_owned()]);
        collect("", &self.root, &mut paths, &mut scopes);
        let at = place(number, scopes.len());
        scopes.swap_remove(at)
    }
}

fn parallel(at: &str, scope: &Scope, found: &mut Vec<String>) {
    if scope.order == ShutdownOrder::Parallel {
        found.push(at.to_owned());
    }
    for (place, member) in scope.members.iter().enumerate() {
        if let Member::Scope(scope) = member {
            parallel(&format!("{at}/{}", member.name(place)), scope, found);
        }
    }
}

/// A smaller number means somebody before, whoever is left out.
fn place(number: u8, of: usize) -> usize {
    usize::from(number) * of / 256
}

fn collect(at: &str, scope: &Scope, paths: &mut Vec<String>, scopes: &mut Vec<String>) {
    for (place, member) in scope.members.iter().enumerate() {
        let path = format!("{at}/{}", member.name(place));
        paths.push(path.clone());
        if let Member::Scope(scope) = member {
            scopes.push(path.clone());
            collect(&path, scope, paths, scopes);
        }
    }
}

impl Member {
    pub fn name(&self, place: usize) -> String {
        match self {
            Self::Worker(_) => format!("w{place}"),
            Self::Scope(_) => format!("s{place}"),
        }
    }
}

/// The name of a child that is added; `w0` may be taken.
pub fn added(name: u8) -> String {
    match name % 4 {
        0 => "w0".to_owned(),
        name => format!("d{name}"),
    }
}

pub fn join(parent: &str, id: &str) -> String {
    format!("{}/{id}", parent.trim_end_matches('/'))
}
