use std::path::PathBuf;

use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::of_defaults;

/// The socket the dashboard's relay talks to.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct DashboardSection {
    /// Whether this process can be seen on a dashboard.
    #[config(default = false, env = "SUPERVISOR_DASHBOARD_ENABLED")]
    pub enabled: bool,

    /// What the dashboard knows this process by, for instance payments-worker-a.
    #[config(env = "SUPERVISOR_DASHBOARD_TARGET_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,

    /// Where the socket is, as an absolute path.
    #[config(env = "SUPERVISOR_DASHBOARD_PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,

    /// Who may open the socket, in octal and in quotes; never everybody.
    #[config(default = "0600")]
    pub permissions: String,

    /// What happens when something is already there: create_new refuses, replace_stale takes its place
    /// when nothing answers and the owner is us.
    #[config(default = "create_new", env = "SUPERVISOR_DASHBOARD_BIND_MODE")]
    pub bind_mode: BindMode,

    /// How this process makes itself known to a relay.
    #[config(nested)]
    pub registration: RegistrationSection,
}

/// How this process makes itself known to a relay.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct RegistrationSection {
    /// Whether it does.
    #[config(default = false, env = "SUPERVISOR_DASHBOARD_REGISTRATION_ENABLED")]
    pub enabled: bool,

    /// The relay's registration socket, as an absolute path.
    #[config(env = "SUPERVISOR_DASHBOARD_RELAY_REGISTRATION_PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_registration_path: Option<PathBuf>,

    /// What people call this process; the target id unless given.
    #[config(env = "SUPERVISOR_DASHBOARD_DISPLAY_NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,

    /// For how long the relay remembers it without a sign of life, in seconds.
    #[config(default = 30, env = "SUPERVISOR_DASHBOARD_LEASE_SECONDS")]
    #[schemars(range(min = 1, max = 86400))]
    pub lease_seconds: u64,

    /// How often it shows one, in seconds; less than the lease.
    #[config(
        default = 15,
        env = "SUPERVISOR_DASHBOARD_REGISTRATION_HEARTBEAT_INTERVAL_SECONDS"
    )]
    #[schemars(range(min = 1, max = 86400))]
    pub registration_heartbeat_interval_seconds: u64,
}

/// What happens when something is already at the socket's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindMode {
    /// It is an error.
    CreateNew,
    /// It is replaced when nothing answers there and it is ours.
    ReplaceStale,
}

impl Default for DashboardSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl Default for RegistrationSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl DashboardSection {
    /// The socket's mode bits; `None` where `permissions` is not three octal digits, with or without a
    /// leading zero.
    pub fn mode(&self) -> Option<u32> {
        let digits = match self.permissions.strip_prefix('0') {
            Some(digits) if digits.len() == 3 => digits,
            _ => &self.permissions,
        };
        let octal = digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
    }
}
