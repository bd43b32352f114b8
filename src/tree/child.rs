use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use supervisor_layers::{
    ChildPolicy, ChildSettings, Gate, RestartAction, RestartType, StopCause, SupervisedLayer,
    TaskContext,
    context::{ContextSpec, ReadinessPolicy},
    policy::Nanos,
};
use tokio::task::JoinHandle;

use super::{Scope, Tree, core::ScopeCore};
use crate::{
    control::Change,
    spec::{Build, ChildSpec, OnFuseBlown, SupervisionStrategy, SupervisorPath, SupervisorSpec},
    sync::lock,
};

/// A child that was added: its declaration, its slot, and its task while it has one.
pub(crate) struct Child {
    gate: Gate,
    /// Its level in the declared start order; a child that was added has none.
    pub(super) level: Option<u32>,
    pub(crate) kind: ChildKind,
    pub(crate) significant: bool,
    words: Option<Box<Words>>,
    readiness: ReadinessPolicy,
    on_fuse_blown: OnFuseBlown,
    /// While it has one.
    task: Mutex<Option<JoinHandle<()>>>,
    begun: AtomicBool,
    aborted: AtomicBool,
    over: AtomicBool,
    leaving: AtomicBool,
    /// As [`Asked`] has it in a word; 0 before.
    asked: AtomicU64,
    accounted: AtomicBool,
    /// Up to which run its group has restarted with it.
    regrouped: AtomicU64,
}

/// What a declaration names beside the child; most name nothing.
struct Words {
    depends_on: Vec<String>,
    tags: Vec<String>,
}

/// Since when a child is being ended, and whether a run of it was alive then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Since the tree started.
    pub(super) at: Duration,
    pub(super) was_alive: bool,
}

impl Asked {
    fn from_word(word: u64) -> Self {
        Self {
            at: Duration::from_nanos((word >> 1) - 1),
            was_alive: word & 1 == 1,
        }
    }

    fn word(self) -> u64 {
        let nanos = u64::try_from(self.at.as_nanos()).unwrap_or(u64::MAX >> 2);
        ((nanos + 1) << 1) | u64::from(self.was_alive)
    }
}

/// What a child is.
pub(crate) enum ChildKind {
    /// A service.
    Worker(Arc<dyn Build>),
    /// A supervisor with children of its own.
    Supervisor(Arc<Scope>),
}

/// What a declaration says of a child whatever it runs.
pub(super) struct AsChild {
    policy: Arc<ChildPolicy>,
    readiness: ReadinessPolicy,
    on_fuse_blown: OnFuseBlown,
    significant: bool,
    depends_on: Vec<String>,
    tags: Vec<String>,
}

impl AsChild {
    fn of_worker(spec: ChildSpec) -> (Self, ChildKind) {
        let as_child = Self {
            policy: spec.policy,
            readiness: spec.readiness,
            on_fuse_blown: spec.on_fuse_blown,
            significant: spec.significant,
            depends_on: spec.depends_on,
            tags: spec.tags,
        };
        (as_child, ChildKind::Worker(spec.build))
    }

    pub(super) fn of(supervisor: &SupervisorSpec) -> Self {
        Self {
            policy: Arc::new(supervisor.policy),
            readiness: ReadinessPolicy::Explicit,
            on_fuse_blown: match supervisor.policy.quarantine {
                Some(_) => OnFuseBlown::Quarantine,
                None => OnFuseBlown::Escalate,
            },
            significant: supervisor.significant,
            depends_on: supervisor.depends_on.clone(),
            tags: supervisor.tags.clone(),
        }
    }
}

/// Where a child comes to stand.
pub(super) struct Place<'a> {
    pub(super) core: &'a Arc<ScopeCore>,
    pub(super) strategy: SupervisionStrategy,
    pub(super) level: Option<u32>,
    pub(super) added: Nanos,
}

impl Child {
    pub(super) fn worker(spec: ChildSpec, path: &SupervisorPath, place: &Place<'_>) -> Arc<Self> {
        let (as_child, kind) = AsChild::of_worker(spec);
        Self::new(path, kind, as_child, place)
    }

    pub(super) fn supervisor(scope: Arc<Scope>, as_child: AsChild, place: &Place<'_>) -> Arc<Self> {
        let path = scope.path().clone();
        Self::new(&path, ChildKind::Supervisor(scope), as_child, place)
    }

    fn new(
        path: &SupervisorPath,
        kind: ChildKind,
        as_child: AsChild,
        place: &Place<'_>,
    ) -> Arc<Self> {
        let Place {
            core,
            strategy,
            level,
            added,
        } = *place;
        let spec = ContextSpec {
            instance: core.tree.next_instance(),
            readiness: as_child.readiness,
            grouped: strategy != SupervisionStrategy::OneForOne,
            generation: 0,
            layer: Some(core.tree.layer(as_child.policy)),
            leaf: matches!(kind, ChildKind::Worker(_)),
            own_layers: matches!(&kind, ChildKind::Worker(build) if !build.is_supervised()),
            added: Some(added),
        };
        Arc::new(Self {
            gate: TaskContext::supervised(path.shared(), core.clone(), spec).gate(),
            level,
            kind,
            significant: as_child.significant,
            words: (!as_child.depends_on.is_empty() || !as_child.tags.is_empty()).then(|| {
                Box::new(Words {
                    depends_on: as_child.depends_on,
                    tags: as_child.tags,
                })
            }),
            readiness: as_child.readiness,
            on_fuse_blown: as_child.on_fuse_blown,
            task: Mutex::default(),
            begun: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            over: AtomicBool::new(true),
            leaving: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            accounted: AtomicBool::new(false),
            regrouped: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self) -> SupervisorPath {
        SupervisorPath::of(self.gate.path().clone())
    }

    /// The siblings that have to have started before it does.
    pub(super) fn depends_on(&self) -> &[String] {
        self.words.as_ref().map_or(&[], |words| &words.depends_on)
    }

    pub(crate) fn tags(&self) -> &[String] {
        self.words.as_ref().map_or(&[], |words| &words.tags)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Of the supervisor that it stands under.
    pub(super) fn core(&self) -> &ScopeCore {
        let owner = self.gate.owner().map(|owner| &**owner as &dyn Any);
        match owner.and_then(<dyn Any>::downcast_ref) {
            Some(core) => core,
            None => unreachable!("a child of a tree is a supervisor's"),
        }
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.core().tree
    }

    /// That one, if it is there still.
    pub(crate) fn under(&self) -> Option<Arc<Scope>> {
        self.core().supervisor()
    }

    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        match &self.kind {
            ChildKind::Worker(_) => None,
            ChildKind::Supervisor(scope) => Some(scope),
        }
    }

    /// Part of the supervisor's declaration; comes back with a new life of it.
    pub(super) fn is_declared(&self) -> bool {
        self.level.is_some()
    }

    /// Whether its start is waited for before the next child's.
    pub(super) fn starts_explicitly(&self) -> bool {
        self.readiness == ReadinessPolicy::Explicit
    }

    /// What its declaration says of its layers, whether it runs under those or not.
    fn declared_layers(&self) -> Option<&ChildSettings> {
        self.gate().layer().map(SupervisedLayer::settings)
    }

    /// How long its start may take where no watchdog in its stack looks after it.
    pub(super) fn start_timeout(&self) -> Option<Duration> {
        match self.kind {
            ChildKind::Worker(_) => self.declared_layers()?.start_timeout,
            ChildKind::Supervisor(_) => None,
        }
    }

    /// Whether a stop of it ends by itself: its stack has a grace, or its supervisor's budget ends it.
    pub(super) fn has_grace(&self) -> bool {
        match &self.kind {
            ChildKind::Supervisor(_) => true,
            ChildKind::Worker(build) if build.is_supervised() => {
                self.declared_layers()
                    .is_some_and(|declared| declared.grace.is_some())
                    || self.gate().grace().is_some()
            }
            ChildKind::Worker(_) => self.gate().grace().is_some(),
        }
    }

    pub(crate) fn restart_type(&self) -> RestartType {
        let declared = || self.gate().layer().map(SupervisedLayer::restart);
        self.gate()
            .restart_type()
            .or_else(declared)
            .unwrap_or_default()
    }

    pub(super) fn on_fuse_blown(&self) -> OnFuseBlown {
        self.on_fuse_blown
    }

    /// How many levels of supervisors there may be from here down; each adds its own wait to the end of a
    /// shutdown.
    pub(super) fn height(&self) -> u32 {
        self.scope().map_or(0, |scope| scope.height())
    }

    // Its group.

    /// A group restart has the child start again, whatever it failed with before: its notice may come
    /// later. Answers the delay that failure asked for, if nobody has heeded it yet.
    pub(super) fn regroup(&self) -> Option<Duration> {
        let gate = self.gate();
        let generation = gate.generation();
        let before = self.regrouped.swap(generation, Ordering::AcqRel);
        match gate.last_decision()? {
            (of, decision) if of == generation && of > before => match decision.action {
                RestartAction::RestartGroup { delay } => Some(delay),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a group restart has taken in how this run ended.
    pub(super) fn is_regrouped(&self, generation: u64) -> bool {
        self.regrouped.load(Ordering::Acquire) >= generation
    }

    // Its task.

    pub(super) fn begin_task(&self) {
        self.begun.store(true, Ordering::Relaxed);
        self.asked.store(0, Ordering::Release);
        self.aborted.store(false, Ordering::Release);
        self.over.store(false, Ordering::Release);
    }

    pub(super) fn started(&self, task: JoinHandle<()>) {
        let mut own = lock(&self.task);
        // One that is over already is of no use to anybody.
        if !self.is_over() {
            *own = Some(task);
        }
    }

    pub(super) fn end_task(&self) {
        // Nobody has to abort it any more, and its memory is not to be kept for that. Before it is over: then there
        // may be the next one.
        let task = lock(&self.task).take();
        drop(task);
        self.over.store(true, Ordering::SeqCst);
        self.gate().notify();
    }

    /// Is taken out, if the supervisor is there still.
    pub(super) fn forget(self: &Arc<Self>) {
        if let Some(supervisor) = self.under() {
            supervisor.forget(self);
        }
    }

    /// It is being taken out: it gets no task any more. Said with its siblings locked.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        if let Some(task) = lock(&self.task).as_ref() {
            task.abort();
        }
    }

    /// Whether its task was told to end, and will where it next waits.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Whether it is taken out when it has ended.
    pub(super) fn is_being_removed(&self) -> bool {
        self.gate().end_cause() == Some(StopCause::Removal)
    }

    /// Whether it has, or had, a task.
    pub(super) fn has_had_task(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether it has no task.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits until it has no task.
    pub(super) async fn over(&self) {
        self.gate().until(|| self.is_over().then_some(())).await;
    }

    /// Whether a run, or what one started, is alive.
    pub(super) fn runs_on(&self) -> bool {
        self.gate().is_active() || self.gate().has_helpers()
    }

    /// Whether nothing of it is alive: neither its task nor what a run of it started.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_over() && !self.gate().has_helpers()
    }

    /// What its removal has changed: it went by that, or goes, or has gone, without.
    pub(crate) fn removed(&self, goes: bool) -> Change {
        match (goes, self.is_gone()) {
            (_, false) => Change::Lingering,
            (true, true) => Change::Done,
            (false, true) => Change::AlreadySo,
        }
    }

    /// Since when its end is asked for, if it is.
    pub(super) fn was_asked(&self) -> Option<Asked> {
        Some(self.asked.load(Ordering::Acquire))
            .filter(|&word| word != 0)
            .map(Asked::from_word)
    }

    /// Notes that its end was asked for; the first to ask counts.
    pub(super) fn asked(&self, at: Duration) -> Asked {
        let first = |word| match word {
            0 => {
                let was_alive = self.gate().is_active();
                Some(Asked { at, was_alive }.word())
            }
            _ => None,
        };
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.asked.fetch_update(order.0, order.1, first);
        Asked::from_word(before.map_or_else(|word| word, |_| self.asked.load(Ordering::Acquire)))
    }

    /// Its supervisor ended it and the tree goes on: a shutdown will find it down.
    pub(super) fn settled(&self) {
        if self.is_over() {
            self.asked.store(0, Ordering::Release);
        }
    }

    /// Whether it has been told how it took the shutdown.
    pub(super) fn is_accounted(&self) -> bool {
        self.accounted.load(Ordering::Acquire)
    }

    /// `true` once: how it took the shutdown is told once, whoever looks at it.
    pub(super) fn account(&self) -> bool {
        !self.is_accounted() && !self.accounted.swap(true, Ordering::AcqRel)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("gate", &self.gate)
            .field("over", &self.is_over())
            .finish_non_exhaustive()
    }
}
