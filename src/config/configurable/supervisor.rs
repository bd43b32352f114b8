use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_COUNT, of_defaults};
use crate::spec::{AutoShutdown, EscalationPolicy, SupervisionStrategy};

/// What a nested supervisor says of itself; the rest comes from its parent.
pub type SupervisorOverrides = <SupervisorSection as Config>::Layer;

/// How a supervisor supervises its children.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(derive(Debug, Clone, Default, Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct SupervisorSection {
    /// Who restarts with a child that failed: OneForOne, OneForAll or RestForOne.
    #[config(default = "OneForOne", env = "SUPERVISOR_STRATEGY")]
    pub strategy: SupervisionStrategy,

    /// What becomes of a supervisor that gives up: escalate_to_parent, shutdown_tree or quarantine_scope.
    #[config(default = "escalate_to_parent", env = "SUPERVISOR_ESCALATION_POLICY")]
    pub escalation_policy: EscalationPolicy,

    /// Whether it ends when its significant children have ended by themselves: never, any_significant or
    /// all_significant.
    #[config(default = "never", env = "SUPERVISOR_AUTO_SHUTDOWN")]
    pub auto_shutdown: AutoShutdown,

    /// How many commands may be under way before one is answered Busy. Counts for the whole tree.
    #[config(default = 256, env = "SUPERVISOR_CONTROL_CHANNEL_CAPACITY")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub control_channel_capacity: usize,

    /// How many events a subscriber may be behind before it is told of a gap. Counts for the whole tree.
    #[config(default = 256, env = "SUPERVISOR_EVENT_CHANNEL_CAPACITY")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub event_channel_capacity: usize,

    /// Children that come while the supervisor runs.
    #[config(nested)]
    pub dynamic_supervisor: DynamicSection,
}

/// Children that come while the supervisor runs.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(derive(Debug, Clone, Default, Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct DynamicSection {
    /// They may.
    #[config(default = true, env = "SUPERVISOR_DYNAMIC_ENABLED")]
    pub enabled: bool,

    /// At most so many children in all, declared ones included; no limit unless given.
    #[config(env = "SUPERVISOR_DYNAMIC_CHILD_LIMIT")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_limit: Option<usize>,
}

impl Default for SupervisorSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl Default for DynamicSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl SupervisorSection {
    /// This section where `over` says nothing else.
    #[must_use]
    pub fn with(&self, over: &SupervisorOverrides) -> Self {
        let (dynamic, over_dynamic) = (&self.dynamic_supervisor, &over.dynamic_supervisor);
        Self {
            strategy: over.strategy.unwrap_or(self.strategy),
            escalation_policy: over.escalation_policy.unwrap_or(self.escalation_policy),
            auto_shutdown: over.auto_shutdown.unwrap_or(self.auto_shutdown),
            control_channel_capacity: over
                .control_channel_capacity
                .unwrap_or(self.control_channel_capacity),
            event_channel_capacity: over
                .event_channel_capacity
                .unwrap_or(self.event_channel_capacity),
            dynamic_supervisor: DynamicSection {
                enabled: over_dynamic.enabled.unwrap_or(dynamic.enabled),
                child_limit: over_dynamic.child_limit.or(dynamic.child_limit),
            },
        }
    }
}
