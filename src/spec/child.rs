use std::{
    fmt,
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use supervisor_layers::{
    Backoff, ChildPolicy, FuseLimit, IntoTaskResult, RestartType, TaskContext, TaskFactory,
    context::ReadinessPolicy,
};

use super::{
    Build, OnFuseBlown,
    service::{OfFn, OfService, OfStack, Template, blocking},
};

/// A child as declared: what runs, when it runs again, and everything its supervisor has to know of it.
///
/// ```
/// use rust_supervisor::{Backoff, ChildSpec, Jitter, ReadinessPolicy, TaskContext, TaskResult, ms, secs};
///
/// async fn consume(ctx: TaskContext) -> TaskResult {
///     ctx.mark_ready();
///     ctx.cancelled().await;
///     Ok(())
/// }
///
/// ChildSpec::worker("consumer", consume)
///     .backoff(Backoff::exponential(ms(50), secs(10)).jitter(Jitter::Full))
///     .fuse(5, secs(60))
///     .grace(secs(20))
///     .readiness(ReadinessPolicy::Explicit);
/// ```
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: String,
    pub(crate) build: Arc<dyn Build>,
    /// Shared by children that leave it as it is.
    pub(crate) policy: Arc<ChildPolicy>,
    pub(crate) on_fuse_blown: OnFuseBlown,
    pub(crate) readiness: ReadinessPolicy,
    pub(crate) significant: bool,
    pub(crate) depends_on: Vec<String>,
    pub(crate) tags: Vec<String>,
}

impl ChildSpec {
    fn of(id: impl Into<String>, build: Arc<dyn Build>, restart: RestartType) -> Self {
        Self {
            id: id.into(),
            build,
            policy: default_policy(restart),
            on_fuse_blown: OnFuseBlown::default(),
            readiness: ReadinessPolicy::default(),
            significant: false,
            depends_on: Vec::new(),
            tags: Vec::new(),
        }
    }

    pub(crate) fn policy_mut(&mut self) -> &mut ChildPolicy {
        Arc::make_mut(&mut self.policy)
    }

    /// A function that works until it is stopped: permanent, in the default stack. Returning is a failure
    /// of its kind.
    ///
    /// What the closure captures is shared by all runs and needs no `Clone`; what a run's future needs it
    /// clones: `move |ctx| { let db = db.clone(); async move { … } }`.
    pub fn worker<F, Fut>(id: impl Into<String>, f: F) -> Self
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoTaskResult,
    {
        Self::of(id, Arc::new(OfFn { f }), RestartType::Permanent)
    }

    /// A function that runs to its end: transient, in the default stack.
    pub fn job<F, Fut>(id: impl Into<String>, f: F) -> Self
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoTaskResult,
    {
        Self::of(id, Arc::new(OfFn { f }), RestartType::Transient)
    }

    /// A plain function on the blocking pool: permanent, in the default stack.
    ///
    /// Its thread cannot be aborted. The function has to look at
    /// [`is_cancelled`](TaskContext::is_cancelled) now and then; while it has not returned, its child does
    /// not run again, and a shutdown that does not wait so long reports it.
    pub fn blocking<F, R>(id: impl Into<String>, f: F) -> Self
    where
        F: Fn(TaskContext) -> R + Send + Sync + 'static,
        R: IntoTaskResult + Send + 'static,
    {
        Self::worker(id, blocking(Arc::new(f)))
    }

    /// A stack of one's own, run exactly as given: of this specification's policies only readiness,
    /// significance and dependencies apply. Without a `RestartLayer` on top it runs once, and again only
    /// when somebody asks for it.
    pub fn new<S: TaskFactory>(id: impl Into<String>, stack: S) -> Self {
        Self::of(
            id,
            Arc::new(OfStack(Template::new(stack))),
            RestartType::Permanent,
        )
    }

    /// A service of one's own in the default stack: permanent.
    pub fn service<S: TaskFactory>(id: impl Into<String>, service: S) -> Self {
        Self::of(
            id,
            Arc::new(OfService(Template::new(service))),
            RestartType::Permanent,
        )
    }

    /// Its name among its siblings.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs again whatever the exit.
    #[must_use]
    pub fn permanent(self) -> Self {
        self.restart(RestartType::Permanent)
    }

    /// Runs again unless it completed.
    #[must_use]
    pub fn transient(self) -> Self {
        self.restart(RestartType::Transient)
    }

    /// Never runs again, and is forgotten when it has ended.
    #[must_use]
    pub fn temporary(self) -> Self {
        self.restart(RestartType::Temporary)
    }

    /// When it runs again.
    #[must_use]
    pub fn restart(mut self, restart: RestartType) -> Self {
        match Arc::ptr_eq(&self.policy, &default_policy(self.policy.restart)) {
            true => self.policy = default_policy(restart),
            false => self.policy_mut().restart = restart,
        }
        self
    }

    /// How long it waits before the next run; `None` for not at all.
    #[must_use]
    pub fn backoff(mut self, backoff: impl Into<Option<Backoff>>) -> Self {
        self.policy_mut().backoff = backoff.into();
        self
    }

    /// At most `failures` within `window`; the next one blows the fuse. `u32::MAX`: all pass, and none is counted.
    #[must_use]
    pub fn fuse(mut self, failures: u32, window: Duration) -> Self {
        self.policy_mut().fuse = Some(FuseLimit { failures, window });
        self
    }

    /// No fuse of its own: its restarts are charged to its supervisor's intensity.
    #[must_use]
    pub fn no_fuse(mut self) -> Self {
        self.policy_mut().fuse = None;
        self
    }

    /// What becomes of it when its fuse blows; quarantine unless said otherwise.
    #[must_use]
    pub fn on_fuse_blown(mut self, what: OnFuseBlown) -> Self {
        self.on_fuse_blown = what;
        self.policy_mut().quarantine = match what {
            OnFuseBlown::Quarantine => self.policy.quarantine.or(Some(None)),
            OnFuseBlown::Escalate | OnFuseBlown::Stop => None,
        };
        self
    }

    /// Quarantine when its fuse blows, released by itself after this.
    #[must_use]
    pub fn quarantine_for(mut self, time: Duration) -> Self {
        self.on_fuse_blown = OnFuseBlown::Quarantine;
        self.policy_mut().quarantine = Some(Some(time));
        self
    }

    /// How long a stopping run has before it is dropped.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.policy_mut().grace = Some(grace);
        self
    }

    /// When a run counts as ready.
    #[must_use]
    pub fn readiness(mut self, readiness: ReadinessPolicy) -> Self {
        self.readiness = readiness;
        self
    }

    /// How long a run of explicit readiness may take to become ready.
    #[must_use]
    pub fn start_timeout(mut self, time: Duration) -> Self {
        self.policy_mut().watchdog = self.policy.watchdog.start_timeout(time);
        self
    }

    /// Its runs show signs of life with [`TaskContext::heartbeat`]; one that has not for 3 s is ended.
    #[must_use]
    pub fn heartbeat(self) -> Self {
        self.heartbeat_within(Duration::from_secs(3))
    }

    /// The same for another time.
    #[must_use]
    pub fn heartbeat_within(mut self, stale_after: Duration) -> Self {
        self.policy_mut().watchdog = self.policy.watchdog.stale_after(stale_after);
        self
    }

    /// How long a poll of its runs may take before it is reported as stuck, in the default stack; `None` for
    /// a child that may block its thread.
    #[must_use]
    pub fn stuck_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.policy_mut().observe = self.policy.observe.stuck_after(time);
        self
    }

    /// Its own end may end its supervisor: by [`AutoShutdown`](super::AutoShutdown), or when it failed for
    /// good.
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

    /// Words to find it by, shown with its state.
    #[must_use]
    pub fn tags<I: Into<String>>(mut self, tags: impl IntoIterator<Item = I>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// All layers' settings at once.
    #[must_use]
    pub fn policy(mut self, policy: ChildPolicy) -> Self {
        self.policy = Arc::new(policy);
        self
    }
}

/// The same for all that ask for it.
fn default_policy(restart: RestartType) -> Arc<ChildPolicy> {
    static OF_EACH: LazyLock<[Arc<ChildPolicy>; 3]> = LazyLock::new(|| {
        let each = [
            RestartType::Permanent,
            RestartType::Transient,
            RestartType::Temporary,
        ];
        each.map(|restart| {
            Arc::new(ChildPolicy {
                restart,
                ..ChildPolicy::default()
            })
        })
    });
    OF_EACH[restart as usize].clone()
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("policy", &self.policy)
            .field("on_fuse_blown", &self.on_fuse_blown)
            .field("readiness", &self.readiness)
            .field("significant", &self.significant)
            .field("depends_on", &self.depends_on)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}
