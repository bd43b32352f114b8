//! The tree that a configuration makes, with what each child inherits, for `--check`.

use std::fmt;

use rust_supervisor::{
    SupervisorConfig,
    config::configurable::{
        ChildConfig, ChildKind, PolicySection, ShutdownSection, SupervisorSection,
    },
};

/// Displays the tree.
pub struct Tree<'a>(pub &'a SupervisorConfig);

/// What is handed down to a supervisor's children.
struct Inherited {
    supervisor: SupervisorSection,
    policy: PolicySection,
    shutdown: ShutdownSection,
}

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        let root = Inherited {
            supervisor: config.supervisor.clone(),
            policy: config.policy.clone(),
            shutdown: config.shutdown.clone(),
        };
        write!(f, "{}  ", config.name)?;
        root.limits(f)?;
        branches(f, &config.children, &root, "")
    }
}

impl Inherited {
    fn by(&self, child: &ChildConfig) -> Self {
        Self {
            supervisor: self.supervisor.with(&child.supervisor),
            policy: self.policy.with(&child.policy),
            shutdown: self.shutdown.with(&child.shutdown),
        }
    }

    fn limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy, supervisor, ..
        } = self;
        write!(
            f,
            "{:?}, at most {} restarts in {} ms",
            supervisor.strategy,
            policy.supervisor_failure_limit,
            policy.supervisor_failure_window_ms,
        )
    }
}

fn branches(
    f: &mut fmt::Formatter<'_>,
    children: &[ChildConfig],
    parent: &Inherited,
    indent: &str,
) -> fmt::Result {
    for (at, child) in children.iter().enumerate() {
        let (branch, below) = if at + 1 == children.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let own = parent.by(child);
        write!(f, "\n{indent}{branch}{}  ", child.name)?;
        if child.kind == ChildKind::Supervisor {
            own.limits(f)?;
            branches(f, &child.children, &own, &format!("{indent}{below}"))?;
        } else {
            line(f, child, &own)?;
        }
    }
    Ok(())
}

fn line(f: &mut fmt::Formatter<'_>, child: &ChildConfig, own: &Inherited) -> fmt::Result {
    let Inherited {
        policy, shutdown, ..
    } = own;
    if let Some(replicas) = child.replicas {
        write!(f, "pool of {replicas}, each a ")?;
    }
    write!(
        f,
        "{} of factory {}, {:?}, ready {:?}, fuse {} in {} ms, grace {} ms",
        child.kind.as_str(),
        child.factory.as_deref().unwrap_or_default(),
        child.restart_policy,
        child.readiness,
        policy.child_restart_limit,
        policy.child_restart_window_ms,
        shutdown.graceful_timeout_ms,
    )?;
    if child.heartbeat {
        write!(f, ", heartbeat within {} ms", policy.stale_after_ms)?;
    }
    Ok(())
}
