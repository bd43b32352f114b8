use std::{sync::Arc, time::Duration};

use supervisor_layers::{ChildPolicy, FuseLimit, RestartType};
use tokio_util::sync::CancellationToken;

use super::{
    AutoShutdown, Backpressure, ChildSpec, Declare, EscalationPolicy, Member, Replicas,
    ShutdownOrder, SupervisionStrategy, pool::named,
};
use crate::{Audit, JournalFile};

/// A supervisor as declared: its strategy, its limits, its children in order.
///
/// ```
/// use rust_supervisor::{ChildSpec, SupervisorSpec, TaskContext, secs};
///
/// async fn work(ctx: TaskContext) {
///     ctx.cancelled().await;
/// }
///
/// SupervisorSpec::one_for_one("shop")
///     .supervisor(
///         SupervisorSpec::rest_for_one("storage")
///             .child(ChildSpec::worker("database", work))
///             .pool(4, |_| ChildSpec::worker("settle", work)),
///     )
///     .child(ChildSpec::worker("gateway", work))
///     .intensity(30, secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct SupervisorSpec {
    pub(crate) id: String,
    pub(crate) strategy: SupervisionStrategy,
    pub(crate) intensity: FuseLimit,
    pub(crate) escalation: EscalationPolicy,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) shutdown_order: ShutdownOrder,
    pub(crate) grace: Duration,
    pub(crate) abort_wait: Duration,
    pub(crate) dynamic: DynamicChildren,
    pub(crate) members: Vec<Member>,
    /// As a pool, what its replicas are made by.
    pub(crate) replicas: Option<Replicas>,
    /// What makes children of declarations here and below; absent, what does so above.
    pub(crate) declare: Option<Arc<dyn Declare>>,
    /// What it is as a child of its own supervisor.
    pub(crate) policy: ChildPolicy,
    pub(crate) significant: bool,
    pub(crate) depends_on: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) tree: Box<TreeSettings>,
}

/// Whether children may come while the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicChildren {
    /// They may.
    pub enabled: bool,
    /// At most so many children in all, declared ones included.
    pub child_limit: Option<usize>,
}

/// What only the root's declaration says.
#[derive(Debug, Clone)]
pub(crate) struct TreeSettings {
    pub(crate) total_timeout: Duration,
    pub(crate) journal_capacity: usize,
    pub(crate) event_channel_capacity: usize,
    pub(crate) backpressure: Backpressure,
    pub(crate) journal_file: Option<JournalFile>,
    pub(crate) audit: Option<Audit>,
    pub(crate) counted: bool,
    pub(crate) control_channel_capacity: usize,
    pub(crate) cancel_on: Option<CancellationToken>,
    pub(crate) jitter_seed: Option<u64>,
}

impl SupervisorSpec {
    /// A supervisor of this strategy without children.
    pub fn new(id: impl Into<String>, strategy: SupervisionStrategy) -> Self {
        Self {
            id: id.into(),
            strategy,
            intensity: FuseLimit {
                failures: 30,
                window: Duration::from_secs(60),
            },
            escalation: EscalationPolicy::default(),
            auto_shutdown: AutoShutdown::default(),
            shutdown_order: ShutdownOrder::default(),
            grace: Duration::from_secs(5),
            abort_wait: Duration::from_secs(1),
            dynamic: DynamicChildren {
                enabled: true,
                child_limit: None,
            },
            members: Vec::new(),
            replicas: None,
            declare: None,
            policy: ChildPolicy::bare(RestartType::Permanent),
            significant: false,
            depends_on: Vec::new(),
            tags: Vec::new(),
            tree: Box::new(TreeSettings {
                total_timeout: Duration::from_secs(30),
                journal_capacity: 8192,
                event_channel_capacity: 256,
                backpressure: Backpressure::default(),
                journal_file: None,
                audit: Some(Audit::default()),
                counted: true,
                control_channel_capacity: 256,
                cancel_on: None,
                jitter_seed: None,
            }),
        }
    }

    /// A child that fails restarts alone.
    pub fn one_for_one(id: impl Into<String>) -> Self {
        Self::new(id, SupervisionStrategy::OneForOne)
    }

    /// A child that fails restarts with all its siblings.
    pub fn one_for_all(id: impl Into<String>) -> Self {
        Self::new(id, SupervisionStrategy::OneForAll)
    }

    /// A child that fails restarts with those declared after it.
    pub fn rest_for_one(id: impl Into<String>) -> Self {
        Self::new(id, SupervisionStrategy::RestForOne)
    }

    /// Its name among its siblings; the root's names the tree.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A child, after those already declared.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.members.push(Member::Child(child));
        self
    }

    /// A supervisor as a child.
    #[must_use]
    pub fn supervisor(mut self, supervisor: SupervisorSpec) -> Self {
        self.members.push(Member::Supervisor(Box::new(supervisor)));
        self
    }

    /// A pool: `replicas` children of one kind under a OneForOne supervisor that has the kind's name. The
    /// replicas are named by their index: `/storage/settle/0`. They stop in parallel, and significance,
    /// dependencies and tags are the pool's. [`scale_child`](crate::SupervisorHandle::scale_child) sets
    /// another count while it runs.
    ///
    /// `of` makes the child for an index, and the pool takes its name from the one for index 0.
    #[must_use]
    pub fn pool(
        self,
        replicas: usize,
        of: impl Fn(usize) -> ChildSpec + Send + Sync + 'static,
    ) -> Self {
        let kind = of(0);
        let made = (0..replicas).map(&of).collect();
        let pool = Self::pool_of(&kind, made, Replicas::new(move |index| Ok(of(index))));
        self.supervisor(pool)
    }

    /// A pool of this kind: those it starts with, and what makes more.
    pub(crate) fn pool_of(kind: &ChildSpec, made: Vec<ChildSpec>, replicas: Replicas) -> Self {
        let members = made.into_iter().enumerate();
        Self {
            shutdown_order: ShutdownOrder::Parallel,
            significant: kind.significant,
            depends_on: kind.depends_on.clone(),
            tags: kind.tags.clone(),
            members: members
                .map(|(index, kind)| Member::Child(named(kind, index)))
                .collect(),
            replicas: Some(replicas),
            ..Self::one_for_one(kind.id.clone())
        }
    }

    /// At most `restarts` within `period`, over all children; one more and the supervisor gives up. As
    /// OTP's intensity. `u32::MAX`: all pass, and none
    /// is counted.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = FuseLimit {
            failures: restarts,
            window: period,
        };
        self
    }

    /// What becomes of it when it gives up.
    #[must_use]
    pub fn escalation(mut self, policy: EscalationPolicy) -> Self {
        self.escalation = policy;
        self
    }

    /// Whether it ends when its significant children have ended.
    #[must_use]
    pub fn auto_shutdown(mut self, policy: AutoShutdown) -> Self {
        self.auto_shutdown = policy;
        self
    }

    /// In which order its children stop.
    #[must_use]
    pub fn shutdown_order(mut self, order: ShutdownOrder) -> Self {
        self.shutdown_order = order;
        self
    }

    /// How long a stopping child has that brings no grace of its own.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long an aborted child is waited for before it is reported as lingering.
    #[must_use]
    pub fn abort_wait(mut self, time: Duration) -> Self {
        self.abort_wait = time;
        self
    }

    /// Whether children may come while it runs, and how many.
    #[must_use]
    pub fn dynamic(mut self, dynamic: DynamicChildren) -> Self {
        self.dynamic = dynamic;
        self
    }

    /// Its own end may end its supervisor.
    #[must_use]
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// Siblings that have to have started before it does.
    #[must_use]
    pub fn depends_on<I: Into<String>>(mut self, siblings: impl IntoIterator<Item = I>) -> Self {
        self.depends_on.extend(siblings.into_iter().map(Into::into));
        self
    }

    /// Words to find it by.
    #[must_use]
    pub fn tags<I: Into<String>>(mut self, tags: impl IntoIterator<Item = I>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// What it is as a child: restarts only, unless given more.
    #[must_use]
    pub fn policy(mut self, policy: ChildPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How long the whole tree has for its shutdown; the root's counts.
    #[must_use]
    pub fn total_timeout(mut self, time: Duration) -> Self {
        self.tree.total_timeout = time;
        self
    }

    /// How many events the tree remembers; the root's counts.
    #[must_use]
    pub fn journal_capacity(mut self, events: usize) -> Self {
        self.tree.journal_capacity = events;
        self
    }

    /// How many events a subscriber is meant to be behind at most: what the levels of the
    /// [`backpressure`](Self::backpressure) are shares of; the root's counts.
    #[must_use]
    pub fn event_channel_capacity(mut self, events: usize) -> Self {
        self.tree.event_channel_capacity = events;
        self
    }

    /// Keeps the tree's events in a file as well; the root's counts.
    #[must_use]
    pub fn journal_file(mut self, file: JournalFile) -> Self {
        self.tree.journal_file = Some(file);
        self
    }

    /// Where commands are recorded: in memory unless said otherwise; the root's counts.
    #[must_use]
    pub fn audit(mut self, audit: Audit) -> Self {
        self.tree.audit = Some(audit);
        self
    }

    /// Commands are recorded nowhere but among the events; the root's counts.
    #[must_use]
    pub fn no_audit(mut self) -> Self {
        self.tree.audit = None;
        self
    }

    /// Whether what concerns supervisors, commands and the shutdown is counted in metrics, as it is unless
    /// said otherwise; the root's counts. What concerns a child's runs its
    /// [`ObserveLayer`](crate::ObserveLayer) decides.
    #[must_use]
    pub fn metrics(mut self, on: bool) -> Self {
        self.tree.counted = on;
        self
    }

    /// What happens to observers that cannot keep up; the root's counts.
    #[must_use]
    pub fn backpressure(mut self, backpressure: Backpressure) -> Self {
        self.tree.backpressure = backpressure;
        self
    }

    /// How many commands may be under way before one is answered `Busy`; the root's counts.
    #[must_use]
    pub fn control_channel_capacity(mut self, commands: usize) -> Self {
        self.tree.control_channel_capacity = commands;
        self
    }

    /// Shuts the tree down when this token is cancelled; the root's counts.
    #[must_use]
    pub fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.tree.cancel_on = Some(token);
        self
    }

    /// Makes the jitter of every backoff in the tree repeatable, also in stacks of one's own: the same seed,
    /// child path and generation give the same delay. A [`Backoff`](crate::Backoff)'s own seed goes before it;
    /// the root's counts.
    #[must_use]
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.tree.jitter_seed = Some(seed);
        self
    }
}
