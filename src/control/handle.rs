use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use supervisor_layers::ChildStatus;
use tokio::sync::{Semaphore, watch};

use super::{
    Change, Children, CommandMeta, CommandOutcome, ControlPlane, ExitOutcome, Health,
    RuntimeExitReport, order::Order, signal::Signals,
};
use crate::{
    RunSummary, SupervisorError,
    audit::{AuditLog, AuditRecord},
    event::EventStream,
    shutdown::ShutdownResult,
    spec::{SupervisorPath, SupervisorSpec},
    state::{NodeState, NodeStatus, TreeState, status},
    tree::{Child, Root, Scope, Start, Tree},
};

/// Starts trees.
#[derive(Debug)]
pub enum Supervisor {}

impl Supervisor {
    /// Starts a tree and returns once all its children have started.
    ///
    /// Children start in order; one of explicit readiness is waited for. The failure of a first start is
    /// not retried: what had started is stopped in reverse order, and the error says which child and why.
    ///
    /// # Errors
    ///
    /// A declaration that cannot be (names, dependencies), or a child that does not start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops what has started.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with a timer.
    pub async fn start(spec: SupervisorSpec) -> Result<SupervisorHandle, SupervisorError> {
        let capacity = spec.tree.control_channel_capacity.max(1);
        let start = Start::new(spec)?;
        // Before anything runs: children may ask for it from their first poll on.
        let handle = SupervisorHandle::new(start.root.clone(), capacity);
        start.finish().await?;
        Ok(handle)
    }

    /// Runs a tree to its end on a runtime of its own, with signals as
    /// [`shutdown_on_signal`](SupervisorHandle::shutdown_on_signal) has them, also while it starts. A
    /// thread that a child blocks cannot hold the program: the runtime's end does not wait for it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); [`SupervisorError::Runtime`] if no runtime can be made.
    ///
    /// # Panics
    ///
    /// Inside a Tokio runtime.
    pub fn run(mut spec: SupervisorSpec) -> Result<RuntimeExitReport, SupervisorError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| SupervisorError::Runtime(error.to_string()))?;
        let abort_wait = spec.abort_wait;
        // A signal before all has started stops what has, with its graces, as one afterwards does.
        let stop = spec.tree.cancel_on.take().unwrap_or_default().child_token();
        let spec = spec.cancel_on(stop.clone());
        let report = runtime.block_on(async {
            let mut signals = Signals::listen()?;
            let mut start = std::pin::pin!(Self::start(spec));
            let handle = tokio::select! {
                started = &mut start => started?,
                _ = signals.next() => {
                    stop.cancel();
                    tokio::select! {
                        started = &mut start => started?,
                        // The runtime's teardown aborts what there is.
                        _ = signals.next() => return Err(SupervisorError::StartStopped),
                    }
                }
            };
            // The same signals all along: none falls in between.
            Ok(handle.end_on(&mut signals).await)
        });
        runtime.shutdown_timeout(abort_wait);
        report
    }
}

/// A running tree: through it one steers and asks. Cheap to clone; when the last clone is dropped, the
/// tree is cancelled.
#[derive(Clone)]
pub struct SupervisorHandle {
    shared: Arc<Shared>,
}

/// What all clones of a handle share.
pub(crate) struct Shared {
    pub(super) root: Root,
    pub(super) commands: Arc<Semaphore>,
    pub(super) capacity: usize,
    stopped: AtomicBool,
    control: watch::Sender<Option<Arc<RuntimeExitReport>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.root.scope.tree().request_shutdown(None);
    }
}

/// A handle that does not keep its tree alive.
#[derive(Clone)]
pub struct WeakSupervisorHandle {
    shared: Weak<Shared>,
}

impl WeakSupervisorHandle {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self { shared }
    }

    /// A handle, if there is still one.
    pub fn upgrade(&self) -> Option<SupervisorHandle> {
        self.shared
            .upgrade()
            .map(|shared| SupervisorHandle { shared })
    }
}

impl SupervisorHandle {
    fn new(root: Root, capacity: usize) -> Self {
        let shared = Arc::new(Shared {
            root,
            commands: Arc::new(Semaphore::new(capacity)),
            capacity,
            stopped: AtomicBool::new(false),
            control: watch::Sender::new(None),
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        let _ = shared.root.scope.tree().handle.set(weak);
        Self { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn scope(&self) -> &Arc<Scope> {
        &self.shared.root.scope
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        self.scope().tree()
    }

    /// A handle that does not keep the tree alive.
    pub fn downgrade(&self) -> WeakSupervisorHandle {
        WeakSupervisorHandle {
            shared: Arc::downgrade(&self.shared),
        }
    }

    /// The tree's name: its root's id.
    pub fn name(&self) -> &str {
        &self.shared.root.name
    }

    /// Everything about the tree as it is now, read from the children's slots without stopping anybody.
    pub fn current_state(&self) -> TreeState {
        // The head is read first: whatever comes after it is in the stream, even if it shows here already.
        let journal = &self.tree().journal;
        TreeState {
            name: self.shared.root.name.clone(),
            epoch: journal.epoch().clone(),
            as_of: journal.head(),
            uptime: journal.uptime(),
            root: NodeState::of_root(self.scope(), &self.shared.root.gate),
        }
    }

    /// Everything about one child, and those below it.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::UnknownPath`].
    pub fn child_state(
        &self,
        path: impl Into<SupervisorPath>,
    ) -> Result<NodeState, SupervisorError> {
        let path = path.into();
        if path.is_root() {
            return Ok(NodeState::of_root(self.scope(), &self.shared.root.gate));
        }
        self.find(&path).map(|child| NodeState::of(&child))
    }

    /// What one child is doing.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::UnknownPath`].
    pub fn child_status(&self, path: impl AsRef<str>) -> Result<ChildStatus, SupervisorError> {
        match path.as_ref().trim_matches('/') {
            "" => Ok(self.shared.root.gate.status()),
            path => {
                let status = self.scope().status(path);
                status.ok_or_else(|| self.unknown(&path.into()))
            }
        }
    }

    /// What every child is doing: children of one supervisor in start order, before those below them.
    pub fn statuses(&self) -> Vec<NodeStatus> {
        status::below(self.scope())
    }

    /// The last records of the audit, the oldest first; none without an [`Audit`](crate::Audit).
    pub fn audit_records(&self) -> Vec<AuditRecord> {
        let audit = self.tree().audit.as_ref();
        audit.map(AuditLog::recent).unwrap_or_default()
    }

    /// Why the tree is where it is, from what its ring of events holds and what its children do now.
    pub fn run_summary(&self) -> RunSummary {
        let state = self.current_state();
        let (events, _) = self.tree().journal.held_from(1);
        RunSummary::of(&events).with_state(&state)
    }

    /// The tree's events from now on.
    pub fn subscribe_events(&self) -> EventStream {
        self.subscribe_events_from(self.tree().journal.head() + 1)
    }

    /// The tree's events from a sequence on; a gap tells of those no longer to be had.
    pub fn subscribe_events_from(&self, sequence: u64) -> EventStream {
        EventStream::new(self.tree().journal.clone(), sequence.max(1))
    }

    /// Whether commands are taken: neither the control plane nor the tree has been stopped.
    pub fn is_alive(&self) -> bool {
        self.control_plane() == ControlPlane::Running
    }

    fn control_plane(&self) -> ControlPlane {
        if self.shared.root.end.borrow().is_some() {
            ControlPlane::Ended
        } else if self.tree().is_closing() {
            ControlPlane::ShuttingDown
        } else if self.shared.stopped.load(Ordering::Acquire) {
            ControlPlane::Stopped
        } else {
            ControlPlane::Running
        }
    }

    /// Whether all is well, and if not, where.
    pub fn health(&self) -> Health {
        let mut health = Health {
            control_plane: self.control_plane(),
            children: std::collections::BTreeMap::new(),
            degraded: Vec::new(),
        };
        health.note(SupervisorPath::root(), &self.shared.root.gate);
        examine(self.scope(), &mut health);
        for child in self.tree().lingering() {
            health.degraded.push((
                child.path(),
                "removed, but its run cannot be ended and goes on".to_owned(),
            ));
        }
        health
    }

    /// Waits until the tree has ended or its control plane was stopped, and says how. The same report for
    /// everybody.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn join(&self) -> RuntimeExitReport {
        let mut control = self.shared.control.subscribe();
        tokio::select! {
            biased;
            report = wait(&mut control) => report,
            report = self.ended() => {
                self.tell(report.clone());
                report
            }
        }
    }

    /// What everybody who joins is told: the first report is the one.
    fn tell(&self, report: RuntimeExitReport) {
        self.shared.control.send_if_modified(|first| {
            let none = first.is_none();
            if none {
                *first = Some(Arc::new(report));
            }
            none
        });
    }

    pub(super) async fn ended(&self) -> RuntimeExitReport {
        wait(&mut self.shared.root.end.clone()).await
    }

    /// Shuts the whole tree down in four stages and reports what was counted. Works in every state; all
    /// who ask get the same result.
    ///
    /// # Errors
    ///
    /// None today: a shutdown always comes to a result. The signature leaves room for one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown_tree(&self, by: &CommandMeta) -> Result<ShutdownResult, SupervisorError> {
        if !self.tree().request_shutdown(Some(by)) {
            let outcome = "the tree is shutting down, or has ended";
            self.tree()
                .audit_shutdown(by, Change::AlreadySo, outcome, None);
        }
        let report = self.ended().await;
        report.shutdown.ok_or(SupervisorError::ShuttingDown)
    }

    /// Stops the control plane alone: supervision goes on, further commands answer
    /// [`ControlPlaneStopped`](SupervisorError::ControlPlaneStopped), and [`join`](Self::join) resolves.
    /// [`shutdown_tree`](Self::shutdown_tree) still works.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::ShuttingDown`] when the tree is.
    pub async fn shutdown(&self, by: &CommandMeta) -> Result<RuntimeExitReport, SupervisorError> {
        if self.tree().is_closing() {
            return Err(SupervisorError::ShuttingDown);
        }
        let order = Order::new(self.tree(), "shutdown", SupervisorPath::root(), by);
        let accepted = order.accepted().await?;
        let already = self.shared.stopped.swap(true, Ordering::AcqRel);
        let report = RuntimeExitReport {
            outcome: ExitOutcome::ControlPlaneStopped,
            uptime: self.tree().journal.uptime(),
            shutdown: None,
        };
        self.tell(report);
        let root = &self.shared.root.gate;
        let outcome = CommandOutcome {
            command: "shutdown",
            path: SupervisorPath::root(),
            instance: root.instance(),
            generation: root.generation(),
            change: match already {
                true => Change::AlreadySo,
                false => Change::Done,
            },
            status: "its control plane is stopped".into(),
        };
        order.completed(&Ok(outcome), accepted).await;
        Ok(self.join().await)
    }

    /// The children of a supervisor, to be added and removed by the program itself.
    ///
    /// # Errors
    ///
    /// An unknown path, or that of a child that is no supervisor.
    pub fn children(
        &self,
        supervisor: impl Into<SupervisorPath>,
    ) -> Result<Children, SupervisorError> {
        let scope = self.supervisor_at(&supervisor.into())?;
        Ok(Children::of(scope.core()))
    }

    pub(super) fn supervisor_at(
        &self,
        path: &SupervisorPath,
    ) -> Result<Arc<Scope>, SupervisorError> {
        if path.is_root() {
            return Ok(self.scope().clone());
        }
        let found = self.find(path)?;
        let scope = found.scope().cloned();
        scope.ok_or_else(|| SupervisorError::NotASupervisor { path: path.clone() })
    }

    pub(super) fn find(&self, path: &SupervisorPath) -> Result<Arc<Child>, SupervisorError> {
        self.scope().find(path).ok_or_else(|| self.unknown(path))
    }

    pub(super) fn unknown(&self, path: &SupervisorPath) -> SupervisorError {
        SupervisorError::UnknownPath {
            path: path.clone(),
            nearest: self.nearest(path),
        }
    }

    fn nearest(&self, path: &SupervisorPath) -> Option<SupervisorPath> {
        fn visit(scope: &Scope, path: &str, best: &mut Option<(f64, SupervisorPath)>) {
            for child in scope.children() {
                let near = strsim::jaro_winkler(path, child.gate().path());
                if near > best.as_ref().map_or(0.8, |(near, _)| *near) {
                    *best = Some((near, child.path()));
                }
                if let Some(scope) = child.scope() {
                    visit(scope, path, best);
                }
            }
        }
        let mut best = None;
        visit(self.scope(), path.as_str(), &mut best);
        best.map(|(_, path)| path)
    }
}

fn examine(scope: &Scope, health: &mut Health) {
    for child in scope.children() {
        let status = child.gate().status();
        *health.children.entry(status.as_str()).or_default() += 1;
        health.note(child.path(), child.gate());
        if let Some(scope) = child.scope() {
            examine(scope, health);
        }
    }
}

async fn wait(report: &mut watch::Receiver<Option<Arc<RuntimeExitReport>>>) -> RuntimeExitReport {
    match report.wait_for(Option::is_some).await {
        Ok(report) => match report.as_deref() {
            Some(report) => report.clone(),
            None => unreachable!("waited for it"),
        },
        // Its task tells, however it ends.
        Err(_) => unreachable!("a report is the last thing sent"),
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorHandle")
            .field("name", &self.name())
            .field("control_plane", &self.control_plane())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakSupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSupervisorHandle")
            .finish_non_exhaustive()
    }
}
