use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};
use supervisor_layers::{
    ChildSettings, ChildStatus, Gate, RestartDecision, StopCause, TaskExit,
    context::{Helper, PollStatistics},
    policy::FuseReading,
    serde_millis,
};
use tokio::time::Instant;

use crate::{
    spec::{SupervisionStrategy, SupervisorPath},
    tree::{Child, Scope},
};

/// A tree at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct TreeState {
    /// Its name.
    pub name: Arc<str>,
    /// The life of the process.
    pub epoch: Arc<str>,
    /// The last event before this was read: a subscription from the next one on misses nothing.
    pub as_of: u64,
    /// How long it has been up.
    #[serde(rename = "uptime_ms", with = "serde_millis")]
    pub uptime: Duration,
    /// The root supervisor, and below it everything.
    pub root: NodeState,
}

impl TreeState {
    /// All nodes, each supervisor before its children.
    pub fn iter(&self) -> impl Iterator<Item = &NodeState> {
        self.root.iter()
    }
}

/// A child or a supervisor at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct NodeState {
    /// Where it stands.
    pub path: SupervisorPath,
    /// Its name; empty for the root.
    pub id: String,
    /// Which addition of that name.
    pub instance: u64,
    /// What it is doing.
    #[serde(serialize_with = "status")]
    pub status: ChildStatus,
    /// Why, where that has a reason of its own.
    pub reason: Option<Arc<str>>,
    /// How long until it goes on by itself: the rest of a backoff, of a quarantine.
    #[serde(rename = "remaining_ms", with = "serde_millis::option")]
    pub remaining: Option<Duration>,
    /// Its run is ready.
    pub ready: bool,
    /// Its current or last run; 0 before the first.
    pub generation: u64,
    /// How many starts in a row have not become healthy.
    pub attempt: u32,
    /// How often it ran again.
    pub restarts: u64,
    /// How long it has been in this status.
    #[serde(rename = "since_ms", with = "serde_millis")]
    pub since: Duration,
    /// How often its runs ended in each way.
    pub exits: BTreeMap<TaskExit, u64>,
    /// How its last run ended.
    pub last_exit: Option<ExitState>,
    /// What its fuse read last.
    pub fuse: Option<FuseReading>,
    /// How long ago its run last showed a sign of life.
    #[serde(rename = "heartbeat_age_ms", with = "serde_millis::option")]
    pub heartbeat_age: Option<Duration>,
    /// How its runs were polled.
    pub polls: PollStatistics,
    /// How long the poll now running has blocked its worker thread, once that was reported.
    #[serde(rename = "stuck_ms", with = "serde_millis::option")]
    pub stuck: Option<Duration>,
    /// What its layers are set to, as they told.
    #[serde(skip)]
    pub settings: ChildSettings,
    /// Helper tasks of its run that are alive.
    pub helpers: Vec<Helper>,
    /// Its own end may end its supervisor.
    pub significant: bool,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The last event that changed it.
    pub sequence: u64,
    /// What it is as a supervisor; absent for any other child.
    pub supervisor: Option<SupervisorNode>,
    /// Its children, in start order.
    pub children: Vec<NodeState>,
}

/// What only supervisors have.
#[derive(Debug, Clone, Serialize)]
pub struct SupervisorNode {
    /// Who restarts together.
    pub strategy: SupervisionStrategy,
    /// How often groups did.
    pub group_restarts: u64,
    /// Restarts counted against the limit over all children.
    pub intensity: FuseReading,
    /// As a pool, how many replicas it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<usize>,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub struct ExitState {
    /// Which run.
    pub generation: u64,
    /// How.
    pub exit: TaskExit,
    /// The failure in words.
    pub message: Option<Arc<str>>,
    /// What followed, and why.
    pub decision: Option<RestartDecision>,
    /// How long ago.
    #[serde(rename = "ago_ms", with = "serde_millis")]
    pub ago: Duration,
}

impl NodeState {
    pub(crate) fn of(child: &Child) -> Self {
        Self {
            significant: child.significant,
            tags: child.tags().to_vec(),
            supervisor: child.scope().map(|scope| SupervisorNode::of(scope)),
            children: child
                .scope()
                .map(|scope| children(scope))
                .unwrap_or_default(),
            ..Self::of_gate(child.path(), child.gate())
        }
    }

    pub(crate) fn of_root(scope: &Scope, root: &Gate) -> Self {
        Self {
            supervisor: Some(SupervisorNode::of(scope)),
            children: children(scope),
            ..Self::of_gate(SupervisorPath::root(), root)
        }
    }

    /// What the slot knows.
    fn of_gate(path: SupervisorPath, gate: &Gate) -> Self {
        let snapshot = gate.snapshot();
        let restarts = snapshot.restarts();
        let (reason, until) = match &snapshot.status {
            ChildStatus::Quarantined { reason, until } => (Some(reason.clone()), *until),
            ChildStatus::BackingOff { until } => (None, Some(*until)),
            ChildStatus::WaitingFor { sibling } => (Some(sibling.clone()), None),
            ChildStatus::Stopping { cause: Some(cause) } => (Some(cause_name(*cause)), None),
            _ => (None, None),
        };
        Self {
            id: path.id().to_owned(),
            path,
            instance: gate.instance(),
            reason,
            remaining: until.map(|until| until.saturating_duration_since(Instant::now())),
            status: snapshot.status,
            ready: snapshot.ready,
            generation: snapshot.generation,
            attempt: snapshot.attempt,
            restarts,
            since: snapshot.since.elapsed(),
            exits: exits(snapshot.exits),
            last_exit: snapshot.last_exit.map(|last| ExitState {
                generation: last.generation,
                exit: last.exit,
                message: last.message,
                decision: last.decision,
                ago: last.at.elapsed(),
            }),
            fuse: snapshot.fuse,
            heartbeat_age: snapshot.heartbeat_age,
            polls: snapshot.polls,
            stuck: snapshot.stuck,
            settings: snapshot.settings,
            helpers: snapshot.helpers,
            significant: false,
            tags: Vec::new(),
            sequence: snapshot.sequence,
            supervisor: None,
            children: Vec::new(),
        }
    }

    /// This node and all below it, each supervisor before its children.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &NodeState> + '_> {
        Box::new(std::iter::once(self).chain(self.children.iter().flat_map(NodeState::iter)))
    }
}

impl SupervisorNode {
    fn of(scope: &Scope) -> Self {
        Self {
            strategy: scope.strategy,
            group_restarts: scope.group_restarts(),
            intensity: scope.core().intensity(),
            replicas: scope.replicas(),
        }
    }
}

fn children(scope: &Scope) -> Vec<NodeState> {
    scope
        .children()
        .iter()
        .map(|child| NodeState::of(child))
        .collect()
}

fn exits(counts: [u64; TaskExit::ALL.len()]) -> BTreeMap<TaskExit, u64> {
    TaskExit::ALL
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn cause_name(cause: StopCause) -> Arc<str> {
    cause.to_string().into()
}

fn status<S: Serializer>(status: &ChildStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}
