use std::path::PathBuf;

use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_COUNT, MAX_MS, RotationSection, of_defaults};
use crate::JournalFile;

/// What is counted, timed and remembered.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ObservabilitySection {
    /// How many events the tree remembers.
    #[config(
        default = 8192,
        env = "SUPERVISOR_OBSERVABILITY_EVENT_JOURNAL_CAPACITY"
    )]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub event_journal_capacity: usize,

    /// A file that the events are kept in as well, so that they are there when the process is not.
    #[config(nested)]
    pub journal_file: JournalFileSection,

    /// Whether commands are recorded; as audit.enabled, and both have to say so.
    #[config(default = true, env = "SUPERVISOR_OBSERVABILITY_AUDIT_ENABLED")]
    pub audit_enabled: bool,

    /// Whether metrics are counted.
    #[config(default = true, env = "SUPERVISOR_OBSERVABILITY_METRICS_ENABLED")]
    pub metrics_enabled: bool,

    /// From when on a poll counts as slow, in milliseconds: it blocks its worker thread.
    #[config(default = 100, env = "SUPERVISOR_OBSERVABILITY_SLOW_POLL_MS")]
    #[schemars(range(min = 1, max = MAX_MS))]
    pub slow_poll_ms: u64,

    /// From when on a poll is reported as stuck while it still runs, in milliseconds; 0 for never.
    #[config(
        default = 1000,
        env = "SUPERVISOR_OBSERVABILITY_STUCK_POLL_THRESHOLD_MS"
    )]
    #[schemars(range(min = 0, max = MAX_MS))]
    pub stuck_poll_threshold_ms: u64,
}

impl Default for ObservabilitySection {
    fn default() -> Self {
        of_defaults()
    }
}

/// A file that the events are kept in.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct JournalFileSection {
    /// Where it is; its directory has to be there. No file unless given.
    #[config(env = "SUPERVISOR_OBSERVABILITY_JOURNAL_FILE_PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,

    /// When the next file begins, and how much is kept.
    #[config(nested)]
    pub rotation: RotationSection,
}

impl Default for JournalFileSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl JournalFileSection {
    pub(in crate::config) fn lowered(&self) -> Option<JournalFile> {
        let path = self.path.as_ref()?;
        Some(JournalFile::new(path).rotation(self.rotation.lowered()))
    }
}
