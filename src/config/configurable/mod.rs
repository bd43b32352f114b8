//! What a configuration file can say: every key, its range, its default.
//!
//! Each section is a plain struct whose attributes are the one place for its defaults and limits. The file
//! template, the JSON Schema and the check of a file all derive from them. The layer type that confique
//! makes of a section, with every key optional, is what a child or a nested supervisor writes under the
//! section's name: it says what differs, the rest comes from the parent.

mod audit;
mod backpressure;
mod child;
mod dashboard;
mod observability;
mod policy;
mod rotation;
mod shutdown;
mod supervisor;

use std::path::PathBuf;

use confique::{Config, Layer};
use rust_config_tree::ConfigSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::template::{json_schema, template_yaml};
pub use audit::{AuditBackend, AuditSection};
pub use backpressure::BackpressureSection;
pub use child::{ChildConfig, ChildKind};
pub use dashboard::{BindMode, DashboardSection, RegistrationSection};
pub use observability::{JournalFileSection, ObservabilitySection};
pub use policy::{BackoffCurve, JitterMode, PolicyOverrides, PolicySection};
pub use rotation::RotationSection;
pub use shutdown::{ShutdownOverrides, ShutdownSection};
pub use supervisor::{DynamicSection, SupervisorOverrides, SupervisorSection};

/// No time may be longer than a year: what is, is a mistake of units.
pub const MAX_MS: u64 = 365 * 24 * 60 * 60 * 1000;
/// No count of failures, children, events or commands may be larger.
pub const MAX_COUNT: u64 = 1_000_000;

/// A whole configuration: one tree, and what surrounds it.
#[derive(Debug, Clone, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
#[schemars(title = "rust-tokio-supervisor configuration")]
pub struct SupervisorConfig {
    /// Other files, relative to this one. What this file says goes before what they say, a later one
    /// before an earlier one, key by key; lists replace each other.
    #[config(default = [])]
    pub include: Vec<PathBuf>,

    /// The name of the tree: its root supervisor's.
    #[config(default = "app", env = "SUPERVISOR_NAME")]
    pub name: String,

    /// How the root supervises its children; nested supervisors inherit it.
    #[config(nested)]
    pub supervisor: SupervisorSection,

    /// When children run again; each inherits it.
    #[config(nested)]
    pub policy: PolicySection,

    /// How children and the tree stop.
    #[config(nested)]
    pub shutdown: ShutdownSection,

    /// What is counted, timed and remembered.
    #[config(nested)]
    pub observability: ObservabilitySection,

    /// Where commands are recorded: who, why, and what came of it.
    #[config(nested)]
    pub audit: AuditSection,

    /// What happens to observers that cannot keep up. They never slow what is supervised.
    #[config(nested)]
    pub backpressure: BackpressureSection,

    /// The socket the dashboard's relay talks to. Unix only.
    #[config(nested)]
    pub dashboard: DashboardSection,

    /// The root's children, in the order they start.
    #[config(default = [])]
    pub children: Vec<ChildConfig>,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        of_defaults()
    }
}

impl ConfigSchema for SupervisorConfig {
    fn include_paths(layer: &<Self as Config>::Layer) -> Vec<PathBuf> {
        layer.include.clone().unwrap_or_default()
    }
}

/// A section as its attributes say it.
fn of_defaults<C: Config>() -> C {
    C::from_layer(C::Layer::default_values()).expect("every key of a section has a default")
}

/// A section serialised without what it does not say.
pub(super) fn without_nulls<S: serde::Serializer>(
    section: &impl Serialize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    fn prune(value: &mut serde_json::Value) {
        if let serde_json::Value::Object(map) = value {
            map.retain(|_, value| {
                prune(value);
                !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
            });
        }
    }
    let mut value = serde_json::to_value(section).map_err(serde::ser::Error::custom)?;
    prune(&mut value);
    value.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use supervisor_layers::ChildPolicy;

    use super::*;
    use crate::{
        SupervisorSpec,
        config::{Factories, lower},
    };

    #[test]
    fn the_defaults_of_a_file_are_those_of_a_program() {
        let config = SupervisorConfig::default();
        let policy = lower::child_policy(&config.policy, &config.shutdown, &config.observability);
        assert_eq!(
            format!("{policy:?}"),
            format!("{:?}", ChildPolicy::default())
        );
        let spec = config.into_spec(&Factories::new()).unwrap();
        assert_eq!(
            format!("{spec:?}"),
            format!(
                "{:?}",
                SupervisorSpec::one_for_one("app").factories(&Factories::new())
            )
        );
    }
}
