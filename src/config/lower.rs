use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;
use supervisor_layers::{
    Backoff, ChildPolicy, FuseLimit, Jitter, ObserveLayer, RestartType, WatchdogLayer, ms,
};

use super::{
    ConfigError, ConfigProblem, Factories, ProblemKind,
    configurable::{
        BackoffCurve, ChildConfig, ChildKind, JitterMode, ObservabilitySection, PolicySection,
        ShutdownSection, SupervisorConfig, SupervisorSection,
    },
    load::{of_child, read_child, recheck},
    nearest::nearest,
};
use crate::spec::{
    ChildSpec, Declare, DynamicChildren, Member, OnFuseBlown, Replicas, ShutdownOrder,
    SupervisorSpec,
};

impl SupervisorConfig {
    /// The tree it declares, with what the program's factories make for its children.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once: an unknown factory, settings that it does not understand, a panic
    /// in it, and whatever was changed for the worse since the configuration was loaded.
    pub fn into_spec(self, factories: &Factories) -> Result<SupervisorSpec, ConfigError> {
        let mut lowering = Lowering {
            problems: recheck(&self),
        };
        for name in factories.ambiguous() {
            let reason = "the program registers two factories under this name".to_owned();
            let kind = ProblemKind::Invalid {
                value: name.as_str().into(),
                reason,
            };
            lowering
                .problems
                .push(ConfigProblem::new("(program)", "factory", kind));
        }
        let root = Effective::of(&self, factories);
        let spec = lowering.supervisor(&self.name, &root, &self.children, "children");
        if !lowering.problems.is_empty() {
            return Err(ConfigError::of(lowering.problems));
        }
        let spec = match self.observability.journal_file.lowered() {
            Some(file) => spec.journal_file(file),
            None => spec,
        };
        let audit = self.audit.lowered();
        let spec = match audit.filter(|_| self.observability.audit_enabled) {
            Some(audit) => spec.audit(audit),
            None => spec.no_audit(),
        };
        Ok(spec
            .total_timeout(ms(self.shutdown.total_timeout_ms))
            .journal_capacity(self.observability.event_journal_capacity)
            .event_channel_capacity(self.supervisor.event_channel_capacity)
            .backpressure(self.backpressure.lowered())
            .metrics(self.observability.metrics_enabled)
            .control_channel_capacity(self.supervisor.control_channel_capacity))
    }
}

impl SupervisorSpec {
    /// What [`add_child`](crate::SupervisorHandle::add_child) makes children of declarations of, here and
    /// below. What a declaration does not say is as a configuration file has it that says nothing.
    ///
    /// A tree that was declared itself has the factories it was made of.
    #[must_use]
    pub fn factories(mut self, factories: &Factories) -> Self {
        let inherited = Effective::of(&SupervisorConfig::default(), factories);
        self.declare = Some(Arc::new(inherited));
        self
    }
}

/// The sections in effect at one place of the tree, and what the program makes children of.
#[derive(Clone)]
struct Effective {
    supervisor: SupervisorSection,
    policy: PolicySection,
    shutdown: ShutdownSection,
    observability: ObservabilitySection,
    factories: Factories,
}

impl Effective {
    fn of(config: &SupervisorConfig, factories: &Factories) -> Self {
        Self {
            supervisor: config.supervisor.clone(),
            policy: config.policy.clone(),
            shutdown: config.shutdown.clone(),
            observability: config.observability.clone(),
            factories: factories.clone(),
        }
    }

    fn under(&self, child: &ChildConfig) -> Self {
        Self {
            supervisor: self.supervisor.with(&child.supervisor),
            policy: self.policy.with(&child.policy),
            shutdown: self.shutdown.with(&child.shutdown),
            ..self.clone()
        }
    }
}

/// What it says shows in what is made of it.
impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effective").finish_non_exhaustive()
    }
}

impl Declare for Effective {
    fn member(&self, declaration: &Value) -> Result<Member, String> {
        let mut child = read_child(declaration.clone()).map_err(|error| error.to_string())?;
        // Its siblings are no part of the declaration; the supervisor looks for them.
        let depends_on = std::mem::take(&mut child.depends_on);
        let alone = SupervisorConfig {
            supervisor: self.supervisor.clone(),
            policy: self.policy.clone(),
            shutdown: self.shutdown.clone(),
            observability: self.observability.clone(),
            children: vec![child],
            ..SupervisorConfig::default()
        };
        let spec = alone.into_spec(&self.factories);
        let mut spec = spec.map_err(|error| of_child(error).to_string())?;
        match spec.members.pop() {
            Some(Member::Child(child)) => Ok(Member::Child(child.depends_on(depends_on))),
            Some(Member::Supervisor(child)) => {
                Ok(Member::Supervisor(Box::new(child.depends_on(depends_on))))
            }
            None => Err("it declares nothing".to_owned()),
        }
    }
}

struct Lowering {
    problems: Vec<ConfigProblem>,
}

impl Lowering {
    fn supervisor(
        &mut self,
        id: &str,
        effective: &Effective,
        children: &[ChildConfig],
        path: &str,
    ) -> SupervisorSpec {
        let section = &effective.supervisor;
        let mut spec = SupervisorSpec::new(id, section.strategy)
            .escalation(section.escalation_policy)
            .auto_shutdown(section.auto_shutdown)
            .shutdown_order(effective.shutdown.order)
            .dynamic(DynamicChildren {
                enabled: section.dynamic_supervisor.enabled,
                child_limit: section.dynamic_supervisor.child_limit,
            });
        spec.policy.observe = observe(&effective.observability);
        limits(&mut spec, effective);
        spec.declare = Some(Arc::new(effective.clone()));
        for (index, child) in children.iter().enumerate() {
            let at = format!("{path}[{index}]");
            let effective = effective.under(child);
            spec = match (child.kind, child.replicas) {
                (ChildKind::Supervisor, _) => spec.supervisor(self.nested(child, &effective, &at)),
                (_, Some(replicas)) => self.pool(spec, replicas, child, &effective, &at),
                (_, None) => match self.child(child, &effective, &at) {
                    Some(child) => spec.child(child),
                    None => spec,
                },
            };
        }
        spec
    }

    fn nested(&mut self, child: &ChildConfig, effective: &Effective, at: &str) -> SupervisorSpec {
        let path = format!("{at}.children");
        let mut spec = self
            .supervisor(&child.name, effective, &child.children, &path)
            .depends_on(&child.depends_on)
            .tags(&child.tags);
        spec.policy.restart = child.restart_policy;
        spec.significant = child.significant;
        spec
    }

    fn pool(
        &mut self,
        spec: SupervisorSpec,
        replicas: usize,
        child: &ChildConfig,
        effective: &Effective,
        at: &str,
    ) -> SupervisorSpec {
        let mut made = Vec::new();
        // One at least: a pool of none has its name from it.
        for _ in 0..replicas.max(1) {
            let Some(replica) = self.child(child, effective, at) else {
                return spec;
            };
            made.push(replica);
        }
        let kind = made[0].clone();
        made.truncate(replicas);
        let mut pool = SupervisorSpec::pool_of(&kind, made, further(child, effective));
        pool.policy.observe = observe(&effective.observability);
        limits(&mut pool, effective);
        pool.shutdown_order = child.shutdown.order.unwrap_or(ShutdownOrder::Parallel);
        spec.supervisor(pool)
    }

    /// A child as its factory makes it; `None` with a problem noted where it does not.
    fn child(&mut self, child: &ChildConfig, effective: &Effective, at: &str) -> Option<ChildSpec> {
        // Its absence is noted already.
        let factory = child.factory.as_deref()?;
        let factories = &effective.factories;
        let Some(made) = factories.make(factory, &child.name, &child.settings) else {
            let kind = ProblemKind::UnknownName {
                what: "factory",
                name: factory.to_owned(),
                known: factories.names().map(str::to_owned).collect(),
                nearest: nearest(factory, factories.names()).map(str::to_owned),
            };
            return self.refuse(child, at, "factory", kind);
        };
        let kind = factories.kind(factory)?;
        if kind != child.kind {
            let kind = ProblemKind::Invalid {
                value: child.kind.as_str().into(),
                reason: format!("factory {factory:?} needs kind: {}", kind.as_str()),
            };
            return self.refuse(child, at, "kind", kind);
        }
        let mut spec = match made {
            Ok(spec) => spec,
            Err((key, kind)) => return self.refuse(child, at, &key, kind),
        };
        let Effective {
            policy,
            shutdown,
            observability,
            ..
        } = effective;
        let mut layers = child_policy(policy, shutdown, observability);
        layers.restart = child.restart_policy;
        if child.heartbeat {
            layers.watchdog = layers
                .watchdog
                .stale_after(ms(policy.stale_after_ms))
                .heartbeat_interval(ms(policy.heartbeat_interval_ms));
        }
        spec = spec
            .policy(layers)
            .on_fuse_blown(policy.on_fuse_blown)
            .readiness(child.readiness)
            .depends_on(&child.depends_on)
            .tags(&child.tags);
        spec.significant = child.significant;
        Some(spec)
    }

    fn refuse(
        &mut self,
        child: &ChildConfig,
        at: &str,
        key: &str,
        kind: ProblemKind,
    ) -> Option<ChildSpec> {
        let file = child.file.as_deref().unwrap_or("(configuration)");
        self.problems
            .push(ConfigProblem::new(file, format!("{at}.{key}"), kind));
        None
    }
}

/// What makes more of a pool's replicas while it runs.
fn further(child: &ChildConfig, effective: &Effective) -> Replicas {
    let (child, effective) = (child.clone(), effective.clone());
    Replicas::new(move |_| {
        let mut lowering = Lowering {
            problems: Vec::new(),
        };
        let made = lowering.child(&child, &effective, "children[0]");
        made.ok_or_else(|| of_child(ConfigError::of(lowering.problems)).to_string())
    })
}

/// What every supervisor has, a pool too.
fn limits(spec: &mut SupervisorSpec, effective: &Effective) {
    let (policy, shutdown) = (&effective.policy, &effective.shutdown);
    spec.intensity = FuseLimit {
        failures: policy.supervisor_failure_limit,
        window: ms(policy.supervisor_failure_window_ms),
    };
    spec.grace = ms(shutdown.graceful_timeout_ms);
    spec.abort_wait = ms(shutdown.abort_wait_ms);
}

/// The layers around a child. Its restart type and its heartbeat are its own to say.
pub(super) fn child_policy(
    policy: &PolicySection,
    shutdown: &ShutdownSection,
    observability: &ObservabilitySection,
) -> ChildPolicy {
    ChildPolicy {
        restart: RestartType::default(),
        quarantine: (policy.on_fuse_blown == OnFuseBlown::Quarantine)
            .then(|| policy.quarantine_release_after_ms.map(ms)),
        fuse: Some(FuseLimit {
            failures: policy.child_restart_limit,
            window: ms(policy.child_restart_window_ms),
        }),
        backoff: backoff(policy),
        observe: observe(observability),
        watchdog: WatchdogLayer::new().start_timeout(ms(policy.start_timeout_ms)),
        grace: Some(ms(shutdown.graceful_timeout_ms)),
    }
}

/// What is observed of every run, a nested supervisor's too.
fn observe(observability: &ObservabilitySection) -> ObserveLayer {
    let stuck_after = observability.stuck_poll_threshold_ms;
    ObserveLayer::new()
        .metrics(observability.metrics_enabled)
        .slow_poll(ms(observability.slow_poll_ms))
        .stuck_after((stuck_after > 0).then(|| ms(stuck_after)))
}

fn backoff(policy: &PolicySection) -> Option<Backoff> {
    let initial = ms(policy.initial_backoff_ms);
    let max: Duration = ms(policy.max_backoff_ms);
    let curve = match policy.backoff {
        BackoffCurve::None => return None,
        BackoffCurve::Constant => Backoff::constant(initial),
        BackoffCurve::Linear => Backoff::linear(initial, max),
        BackoffCurve::Exponential => {
            Backoff::exponential(initial, max).factor(policy.backoff_factor)
        }
        BackoffCurve::Decorrelated => Backoff::decorrelated(initial, max),
    };
    let jitter = match policy.jitter {
        JitterMode::None => Jitter::None,
        JitterMode::Ratio => Jitter::Ratio(policy.jitter_ratio),
        JitterMode::Full => Jitter::Full,
        JitterMode::Equal => Jitter::Equal,
    };
    let reset_after = ms(policy.backoff_reset_after_ms);
    Some(curve.jitter(jitter).reset_after(reset_after))
}
