use std::{
    any::Any,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use supervisor_layers::{
    ChildPolicy, SupervisedLayer, TaskExit,
    context::{LastRun, after},
    policy::Nanos,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Child, deadlines::Deadlines};
use crate::{
    audit::{AuditEntry, AuditLog, AuditedCommand, Entry},
    commanded::Commanded,
    control::Change,
    event::{Command, Lag, Origin, Ring, TreeEvent, log, log_command},
    lanes::Lanes,
    meta::CommandMeta,
    metrics,
    shutdown::{ChildShutdown, ChildShutdownStatus, ShutdownStage},
    spec::{SupervisorPath, SupervisorSpec},
    sync::lock,
};

/// What all supervisors of one tree share.
pub(crate) struct Tree {
    pub(crate) journal: Arc<Ring>,
    pub(crate) audit: Option<AuditLog>,
    /// Whether what happens is counted in metrics.
    pub(crate) counted: bool,
    instances: AtomicU64,
    layer: Mutex<Option<(Arc<ChildPolicy>, SupervisedLayer)>>,
    depth: AtomicU32,
    closing: AtomicBool,
    by_itself: AtomicBool,
    started: AtomicBool,
    /// For children that ask for their supervisor.
    pub(crate) handle: OnceLock<Weak<dyn Any + Send + Sync>>,
    pub(super) jitter_seed: Option<u64>,
    stage: Mutex<Option<ShutdownStage>>,
    asked: CancellationToken,
    asked_at: Mutex<Option<Instant>>,
    total_timeout: Duration,
    requested: Mutex<Option<CommandMeta>>,
    /// The command that the shutdown is a consequence of.
    correlation: AtomicU64,
    /// Until when all stops together may last; none while the tree goes on.
    budget: Mutex<Option<Instant>>,
    /// Of all waits for a child that is to start or to end.
    pub(super) deadlines: Deadlines,
    ended: Lanes<Vec<ChildShutdown>>,
    /// Of these, by their sequence, what was not the last word.
    taken_back: Mutex<Vec<u64>>,
    /// Removed children whose run could not be ended; none once the tree has ended.
    lingering: Mutex<Option<Vec<Arc<Child>>>>,
    first_failure: Mutex<Option<(SupervisorPath, String)>>,
    gave_up: Mutex<Option<String>>,
}

impl Tree {
    /// What the command to shut down is called.
    pub(super) const SHUTDOWN: &str = "shutdown_tree";

    pub(crate) fn new(spec: &SupervisorSpec) -> Arc<Self> {
        let settings = &spec.tree;
        let journal = Ring::new(
            settings.journal_capacity,
            Lag::new(settings.backpressure, settings.event_channel_capacity),
            settings.counted,
        );
        let audit = settings.audit.as_ref().map(|audit| {
            let epoch = journal.epoch().clone();
            AuditLog::new(audit, settings.backpressure, epoch, journal.born_at())
        });
        Arc::new(Self {
            journal: Arc::new(journal),
            audit,
            counted: settings.counted,
            instances: AtomicU64::new(0),
            layer: Mutex::default(),
            depth: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            by_itself: AtomicBool::new(false),
            started: AtomicBool::new(false),
            handle: OnceLock::new(),
            jitter_seed: settings.jitter_seed,
            stage: Mutex::default(),
            asked: CancellationToken::new(),
            asked_at: Mutex::default(),
            total_timeout: settings.total_timeout,
            requested: Mutex::default(),
            correlation: AtomicU64::new(0),
            budget: Mutex::default(),
            deadlines: Deadlines::default(),
            ended: Lanes::default(),
            taken_back: Mutex::default(),
            lingering: Mutex::new(Some(Vec::new())),
            first_failure: Mutex::default(),
            gave_up: Mutex::default(),
        })
    }

    /// There is, or was, a supervisor so many levels below the root.
    pub(super) fn note_depth(&self, depth: u32) {
        self.depth.fetch_max(depth, Ordering::Relaxed);
    }

    /// How many levels below the root the deepest supervisor stands.
    pub(super) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// The layers of a policy. Children that come one after the other have one more often than not.
    pub(super) fn layer(&self, policy: Arc<ChildPolicy>) -> SupervisedLayer {
        let mut last = lock(&self.layer);
        match &*last {
            Some((of, layer)) if Arc::ptr_eq(of, &policy) || *of == policy => layer.clone(),
            _ => {
                let layer = SupervisedLayer::new(*policy);
                *last = Some((policy, layer.clone()));
                layer
            }
        }
    }

    /// A number for an addition of a child.
    pub(super) fn next_instance(&self) -> u64 {
        self.instances.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks for the shutdown: from now on no run begins anywhere, and the budget runs.
    ///
    /// `true` for the first to ask.
    pub(crate) fn request_shutdown(&self, by: Option<&CommandMeta>) -> bool {
        let mut reached = lock(&self.stage);
        if self.closing.swap(true, Ordering::AcqRel) {
            return false;
        }
        // No stage can be entered before this one has been.
        *reached = Some(ShutdownStage::RequestStop);
        *lock(&self.requested) = by.cloned();
        *lock(&self.asked_at) = Some(Instant::now());
        self.limit(after(Instant::now(), self.total_timeout));
        if let Some(by) = by {
            let root = SupervisorPath::root();
            let commanded = Arc::new(Commanded::new(Self::SHUTDOWN, root, by.clone()));
            self.tell_audit(|| Entry::Accepted(commanded.clone()));
            let correlation = self.accepted(&commanded, self.journal.now());
            self.correlation.store(correlation, Ordering::Release);
        }
        self.record_stage(ShutdownStage::RequestStop);
        drop(reached);
        self.asked.cancel();
        true
    }

    /// Tells the audit, if there is one, and waits for nothing.
    pub(super) fn tell_audit<T: Into<Entry>>(&self, entry: impl FnOnce() -> T) {
        if let Some(audit) = &self.audit {
            audit.tell(entry().into(), self.journal.now());
        }
    }

    /// Tells the audit what came of a call for shutdown: the one that began it, or a later one.
    pub(crate) fn audit_shutdown(
        &self,
        by: &CommandMeta,
        change: Change,
        outcome: &str,
        correlation_id: Option<u64>,
    ) {
        self.tell_audit(|| AuditEntry::CommandCompleted {
            command: AuditedCommand::new(&Self::SHUTDOWN.into(), &SupervisorPath::root(), by),
            accepted: None,
            change,
            outcome: outcome.into(),
            correlation_id,
        });
    }

    /// A supervisor below the root gives up for the whole tree.
    pub(super) fn give_up(&self, reason: String) {
        if self.request_shutdown(None) {
            *lock(&self.gave_up) = Some(reason);
        }
    }

    /// Why a supervisor below the root gave up for the whole tree.
    pub(super) fn gave_up(&self) -> Option<String> {
        lock(&self.gave_up).take()
    }

    /// The root ended without being asked to.
    pub(super) fn end_by_itself(&self) {
        if self.request_shutdown(None) {
            self.by_itself.store(true, Ordering::Release);
        }
    }

    pub(super) fn ended_by_itself(&self) -> bool {
        self.by_itself.load(Ordering::Acquire)
    }

    /// All children have started.
    pub(super) fn note_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    pub(super) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Resolves when the shutdown has been asked for.
    pub(super) fn shutdown_asked(&self) -> CancellationToken {
        self.asked.clone()
    }

    /// What the shutdown is a consequence of; 0 for no command.
    pub(super) fn correlation(&self) -> u64 {
        self.correlation.load(Ordering::Acquire)
    }

    /// When the shutdown was asked for.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        *lock(&self.asked_at)
    }

    pub(super) fn budget(&self) -> Option<Instant> {
        *lock(&self.budget)
    }

    pub(super) fn budget_spent(&self) -> bool {
        self.budget().is_some_and(|budget| budget <= Instant::now())
    }

    /// Who asked for the shutdown.
    pub(super) fn requested(&self) -> Option<CommandMeta> {
        lock(&self.requested).clone()
    }

    /// Notes that the shutdown has come so far.
    pub(super) fn enter(&self, stage: ShutdownStage) {
        if !self.is_closing() {
            return;
        }
        let mut reached = lock(&self.stage);
        if *reached < Some(stage) {
            *reached = Some(stage);
            self.record_stage(stage);
        }
    }

    fn record_stage(&self, stage: ShutdownStage) {
        self.record(
            &SupervisorPath::root(),
            TreeEvent::ShutdownStageEntered { stage },
            self.correlation(),
        );
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Until when all stops together may last; can only come closer.
    pub(crate) fn limit(&self, until: Instant) {
        {
            let mut budget = lock(&self.budget);
            if budget.is_some_and(|set| set <= until) {
                return;
            }
            *budget = Some(until);
        }
        self.deadlines.look_again();
    }

    /// What no run that is asked to stop now can extend its stop beyond.
    pub(super) fn stop_cap(&self, now: Instant) -> Instant {
        let budget = self.budget();
        budget.unwrap_or_else(|| after(now, self.total_timeout))
    }

    /// What `done` answers, unless the budget is spent before that.
    pub(super) async fn within_budget<T>(&self, done: impl Future<Output = T>) -> Option<T> {
        let mut patience = self.deadlines.patience();
        patience.until(|| self.budget(), done).await
    }

    /// Notes and tells, once, how a child took the shutdown.
    pub(super) fn account(&self, child: &Child) {
        self.account_as(child, child.is_over());
    }

    /// The same of a child whose task is about to be over.
    pub(super) fn account_over(&self, child: &Child) {
        self.account_as(child, true);
    }

    fn account_as(&self, child: &Child, over: bool) {
        if !child.account() {
            return;
        }
        let last = match child.gate().take_last_word() {
            Some(last) => last,
            // Told with the end of its run.
            None if over => return,
            None => self.take_back(child),
        };
        let asked = child.was_asked();
        // Of one that is over its last run's end is known; of others there is only now.
        let ended = last
            .ended
            .filter(|&ended| over && asked.is_some_and(|asked| asked.at <= Duration::from(ended)));
        let at = ended.unwrap_or_else(|| self.journal.now());
        let asked = asked.unwrap_or_else(|| child.asked(at.into()));
        let status = if !over || last.has_helpers {
            ChildShutdownStatus::AbortFailed
        } else if !asked.was_alive {
            ChildShutdownStatus::AlreadyExited
        } else if last.exit == Some(TaskExit::Aborted) {
            ChildShutdownStatus::Aborted
        } else {
            ChildShutdownStatus::Graceful
        };
        let event = TreeEvent::ChildShutdown { status };
        let sequence = self.tell(child, last.generation, event, at, self.correlation());
        self.note_shutdown(ChildShutdown {
            path: child.path(),
            generation: last.generation,
            status,
            took: Duration::from(at).saturating_sub(asked.at),
            sequence,
        });
    }

    /// It was told with the end of its run that a child took the shutdown gracefully; but its task goes on, in a
    /// destructor of its service. What is to be told instead is of this run.
    fn take_back(&self, child: &Child) -> LastRun {
        let last = child.gate().snapshot();
        lock(&self.taken_back).push(last.sequence);
        LastRun {
            generation: last.generation,
            exit: None,
            ended: None,
            has_helpers: false,
        }
    }

    /// A row of the report.
    pub(super) fn note_shutdown(&self, child: ChildShutdown) {
        let mut ended = self.ended.own();
        if ended.capacity() == 0 {
            // At once for as many as there may be; more than a thousand grow by doubling.
            ended.reserve_exact(self.instances.load(Ordering::Relaxed).min(1024) as usize);
        }
        ended.push(child);
    }

    /// How the children took the shutdown, in the order in which they ended.
    pub(super) fn take_shutdowns(&self) -> Vec<ChildShutdown> {
        let mut lanes: Vec<_> = self
            .ended
            .all()
            .iter_mut()
            .map(|lane| std::mem::take(&mut **lane))
            .collect();
        // Those of the thread that has most stay where they are.
        lanes.sort_unstable_by_key(Vec::len);
        let mut ended = lanes.pop().unwrap_or_default();
        for mut others in lanes {
            ended.append(&mut others);
        }
        let taken_back = std::mem::take(&mut *lock(&self.taken_back));
        if !taken_back.is_empty() {
            ended.retain(|child| !taken_back.contains(&child.sequence));
        }
        ended.sort_by_key(|child| child.sequence);
        ended
    }

    pub(super) fn note_lingering(&self, child: &Arc<Child>) {
        if let Some(lingering) = lock(&self.lingering).as_mut()
            && !lingering.iter().any(|known| Arc::ptr_eq(known, child))
        {
            lingering.push(child.clone());
        }
    }

    pub(crate) fn lingering(&self) -> Vec<Arc<Child>> {
        let mut lingering = lock(&self.lingering);
        let Some(lingering) = lingering.as_mut() else {
            return Vec::new();
        };
        lingering.retain(|child| !child.is_gone());
        lingering.clone()
    }

    /// The same for the last time: a child leads back to its tree, and neither is to keep the other.
    pub(super) fn take_lingering(&self) -> Vec<Arc<Child>> {
        lock(&self.lingering).take().unwrap_or_default()
    }

    /// The innermost child that did not start is the one to name; what a shutdown overtakes is not to blame.
    pub(super) fn note_start_failure(&self, path: &SupervisorPath, reason: String) {
        if !self.has_started() && !self.is_closing() {
            lock(&self.first_failure).get_or_insert_with(|| (path.clone(), reason));
        }
    }

    pub(super) fn start_failure(&self) -> Option<(SupervisorPath, String)> {
        lock(&self.first_failure).take()
    }

    /// Records something about a child that is no step of its run.
    pub(super) fn announce(&self, child: &Child, event: TreeEvent, at: Nanos) {
        let gate = child.gate();
        let (generation, correlation) = (gate.generation(), gate.correlation());
        self.tell(child, generation, event, at, correlation);
    }

    /// Answers the sequence.
    fn tell(
        &self,
        child: &Child,
        generation: u64,
        event: TreeEvent,
        at: Nanos,
        correlation: u64,
    ) -> u64 {
        let origin = Origin {
            path: child.gate().path(),
            instance: child.gate().instance(),
            generation,
            attempt: 0,
        };
        self.journal.append(origin, at, event, correlation).sequence
    }

    /// Records that a command is about to be carried out; its sequence ties the consequences to it.
    pub(crate) fn accepted(&self, commanded: &Arc<Commanded>, at: Nanos) -> u64 {
        log_command(commanded);
        let command = Command::Accepted(commanded.clone());
        self.record_order(commanded, command, at, 0)
    }

    /// Records what came of it.
    pub(crate) fn completed(&self, commanded: &Arc<Commanded>, at: Nanos, correlation: u64) {
        let command = Command::Completed(commanded.clone());
        self.record_order(commanded, command, at, correlation);
    }

    fn record_order(
        &self,
        commanded: &Commanded,
        command: Command,
        at: Nanos,
        correlation: u64,
    ) -> u64 {
        let origin = Origin::of_path(&commanded.path);
        self.journal
            .append(origin, at, command, correlation)
            .sequence
    }

    /// Records something about a supervisor, or about the tree.
    pub(crate) fn record(&self, path: &SupervisorPath, event: TreeEvent, correlation: u64) -> u64 {
        log(path.as_str(), &event);
        if self.counted {
            metrics::count(path.as_str(), &event);
        }
        let origin = Origin::of_path(path);
        self.journal
            .append(origin, self.journal.now(), event, correlation)
            .sequence
    }
}

/// At that time; without one, never.
pub(super) async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
