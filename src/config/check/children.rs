use std::collections::HashMap;

use confique::Layer;
use serde_json::Value;
use supervisor_layers::context::ReadinessPolicy;

use super::{Findings, dependencies, sections};
use crate::config::{
    ProblemKind,
    configurable::{
        ChildConfig, ChildKind, PolicySection, SupervisorConfig, SupervisorSection, without_nulls,
    },
};

pub(super) fn of_root(findings: &mut Findings, config: &SupervisorConfig) {
    let parent = Parent {
        path: "",
        supervisor: &config.supervisor,
        policy: &config.policy,
    };
    children(findings, &parent, &config.children);
}

/// A supervisor with what is in effect there.
struct Parent<'a> {
    path: &'a str,
    supervisor: &'a SupervisorSection,
    policy: &'a PolicySection,
}

fn children(findings: &mut Findings, parent: &Parent<'_>, list: &[ChildConfig]) {
    let path = format!("{}children", parent.path);
    let limit = parent.supervisor.dynamic_supervisor.child_limit;
    if let Some(limit) = limit.filter(|&limit| list.len() > limit) {
        findings.invalid(
            format!("{}supervisor.dynamic_supervisor.child_limit", parent.path),
            limit,
            format!("{} children are declared here already", list.len()),
        );
    }
    let mut seen = HashMap::new();
    for (index, child) in list.iter().enumerate() {
        let at = format!("{path}[{index}]");
        findings.name(&format!("{at}.name"), &child.name);
        if let Some(first) = seen.insert(child.name.as_str(), index) {
            let reason = format!("{path}[{first}] has this name already");
            findings.invalid(format!("{at}.name"), child.name.as_str(), reason);
        }
        one(findings, parent, child, &at);
    }
    dependencies::check(findings, parent.supervisor.strategy, list, &path);
}

fn one(findings: &mut Findings, parent: &Parent<'_>, child: &ChildConfig, at: &str) {
    let policy = parent.policy.with(&child.policy);
    if !child.policy.is_empty() {
        let release = child.policy.quarantine_release_after_ms;
        sections::policy(findings, &format!("{at}.policy"), &policy, release);
    }
    counts_at_the_top(findings, child, at);
    if child.kind == ChildKind::Supervisor {
        supervisor_alone(findings, child, at);
        let supervisor = parent.supervisor.with(&child.supervisor);
        let parent = Parent {
            path: &format!("{at}."),
            supervisor: &supervisor,
            policy: &policy,
        };
        children(findings, &parent, &child.children);
        return;
    }
    let (kind, replicas) = (format!("{at}.kind"), format!("{at}.replicas"));
    if child.factory.is_none() {
        let expected = format!("a {} needs the name of a factory", child.kind.as_str());
        findings
            .note(format!("{at}.factory"), ProblemKind::Missing { expected })
            .relating(&[&kind, &format!("{at}.factory")]);
    }
    if !child.children.is_empty() {
        let reason = "only a child of kind: supervisor has children";
        findings
            .invalid(format!("{at}.children"), child.children.len(), reason)
            .relating(&[&kind]);
    }
    for (key, value) in supervisors_keys(child) {
        let reason = format!(
            "it has no effect on a {}; say it on its supervisor",
            child.kind.as_str()
        );
        findings
            .invalid(format!("{at}.{key}"), value, reason)
            .relating(&[&kind, &replicas]);
    }
}

/// What a supervisor cannot have.
fn supervisor_alone(findings: &mut Findings, child: &ChildConfig, at: &str) {
    let workers_keys = [
        ("factory", child.factory.clone().map(Value::from)),
        (
            "settings",
            (!child.settings.is_null()).then(|| child.settings.clone()),
        ),
        ("replicas", child.replicas.map(Value::from)),
        ("heartbeat", child.heartbeat.then_some(Value::Bool(true))),
        (
            "readiness",
            (child.readiness == ReadinessPolicy::Explicit).then(|| "explicit".into()),
        ),
    ];
    for (key, value) in workers_keys {
        if let Some(value) = value {
            findings.invalid(
                format!("{at}.{key}"),
                value,
                "a supervisor has none; its children may",
            );
        }
    }
}

/// What a worker names that only a supervisor heeds. A pool is one.
fn supervisors_keys(child: &ChildConfig) -> Vec<(&'static str, Value)> {
    let mut keys = vec![(
        "supervisor",
        (!child.supervisor.is_empty()).then(|| named(&child.supervisor)),
    )];
    if child.replicas.is_none() {
        let (policy, shutdown) = (&child.policy, &child.shutdown);
        keys.extend([
            (
                "policy.supervisor_failure_limit",
                policy.supervisor_failure_limit.map(Value::from),
            ),
            (
                "policy.supervisor_failure_window_ms",
                policy.supervisor_failure_window_ms.map(Value::from),
            ),
            (
                "shutdown.abort_wait_ms",
                shutdown.abort_wait_ms.map(Value::from),
            ),
            (
                "shutdown.order",
                shutdown
                    .order
                    .and_then(|order| serde_json::to_value(order).ok()),
            ),
        ]);
    }
    keys.into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

/// What counts for the whole tree and is said beneath its root.
fn counts_at_the_top(findings: &mut Findings, child: &ChildConfig, at: &str) {
    let supervisor = &child.supervisor;
    for (key, value) in [
        (
            "supervisor.control_channel_capacity",
            supervisor.control_channel_capacity.map(Value::from),
        ),
        (
            "supervisor.event_channel_capacity",
            supervisor.event_channel_capacity.map(Value::from),
        ),
        (
            "shutdown.total_timeout_ms",
            child.shutdown.total_timeout_ms.map(Value::from),
        ),
    ] {
        if let Some(value) = value {
            let reason = "it counts for the whole tree; say it at the top of the file";
            findings.invalid(format!("{at}.{key}"), value, reason);
        }
    }
}

/// What a section names, without what it does not.
fn named(section: &impl serde::Serialize) -> Value {
    without_nulls(section, serde_json::value::Serializer).unwrap_or_default()
}
