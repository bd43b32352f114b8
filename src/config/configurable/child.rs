use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use supervisor_layers::{RestartType, context::ReadinessPolicy};

use super::{
    PolicyOverrides, PolicySection, ShutdownOverrides, ShutdownSection, SupervisorOverrides,
    SupervisorSection, without_nulls,
};
use crate::spec::NewChild;

/// A declared child: work by a factory's name, or a supervisor with children of its own.
#[derive(Debug, Clone, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChildConfig {
    /// Its name among its siblings, not blank, no slash.
    pub name: String,

    /// What it is: worker (asynchronous), blocking (a plain function on the blocking pool) or supervisor.
    #[serde(default)]
    pub kind: ChildKind,

    /// The name under which the program has registered what runs. A supervisor has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factory: Option<String>,

    /// What the factory is given, in whatever form it asks for.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(with = "Value")]
    pub settings: Value,

    /// When it runs again: permanent, transient or temporary.
    #[serde(default)]
    #[schemars(schema_with = "restart_policies")]
    pub restart_policy: RestartType,

    /// Whether its own end may end its supervisor.
    #[serde(default)]
    pub significant: bool,

    /// When its runs count as ready: immediate, or explicit when they say so.
    #[serde(default)]
    #[schemars(schema_with = "readiness_policies")]
    pub readiness: ReadinessPolicy,

    /// Whether its runs show signs of life; one that does not is ended after policy.stale_after_ms.
    #[serde(default)]
    pub heartbeat: bool,

    /// Siblings that have to have started before it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,

    /// A pool of so many: a supervisor of this name with children 0, 1, 2 and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: Option<usize>,

    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,

    /// What differs from its parent's policy, for it and what is under it.
    #[serde(default, serialize_with = "without_nulls")]
    #[schemars(with = "PolicySection")]
    pub policy: PolicyOverrides,

    /// What differs from its parent's shutdown, for it and what is under it.
    #[serde(default, serialize_with = "without_nulls")]
    #[schemars(with = "ShutdownSection")]
    pub shutdown: ShutdownOverrides,

    /// What differs from its parent's way to supervise; for a supervisor.
    #[serde(default, serialize_with = "without_nulls")]
    #[schemars(with = "SupervisorSection")]
    pub supervisor: SupervisorOverrides,

    /// A supervisor's children, in the order they start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ChildConfig>,

    /// Where it was declared.
    #[serde(skip)]
    pub(crate) file: Option<Arc<str>>,
}

/// What a declared child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// Asynchronous work.
    #[default]
    Worker,
    /// A plain function on the blocking pool.
    Blocking,
    /// A supervisor with children of its own.
    Supervisor,
}

impl ChildKind {
    /// As written in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Blocking => "blocking",
            Self::Supervisor => "supervisor",
        }
    }
}

impl ChildConfig {
    /// Notes for it and all under it where it was declared.
    pub(crate) fn declared_in(&mut self, file: &Arc<str>) {
        self.file = Some(file.clone());
        for child in &mut self.children {
            child.declared_in(file);
        }
    }
}

impl From<ChildConfig> for NewChild {
    fn from(child: ChildConfig) -> Self {
        serde_json::to_value(child).unwrap_or_default().into()
    }
}

fn restart_policies(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["permanent", "transient", "temporary"]})
}

fn readiness_policies(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["immediate", "explicit"]})
}
