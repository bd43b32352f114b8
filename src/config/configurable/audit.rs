use std::path::PathBuf;

use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_COUNT, RotationSection, of_defaults};
use crate::{Audit, AuditFailureStrategy};

/// Where commands are recorded: who, why, and what came of it.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct AuditSection {
    /// Whether they are.
    #[config(default = true, env = "SUPERVISOR_AUDIT_ENABLED")]
    pub enabled: bool,

    /// Where to: memory (gone with the process) or file.
    #[config(default = "memory", env = "SUPERVISOR_AUDIT_BACKEND")]
    pub backend: AuditBackend,

    /// The file, with backend: file; its directory has to be there.
    #[config(env = "SUPERVISOR_AUDIT_FILE_PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_path: Option<PathBuf>,

    /// When the next file begins, and how much is kept.
    #[config(nested)]
    pub rotation: RotationSection,

    /// What becomes of commands that the file cannot take: fail_closed (each waits until its record is on
    /// storage, and is refused if that fails) or defer_bounded (none waits; records that cannot be written
    /// wait in memory).
    #[config(default = "fail_closed", env = "SUPERVISOR_AUDIT_FAILURE_STRATEGY")]
    pub failure_strategy: AuditFailureStrategy,

    /// With defer_bounded, how many records may wait before commands are refused.
    #[config(default = 1000, env = "SUPERVISOR_AUDIT_MAX_DEFER_QUEUE")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub max_defer_queue: usize,

    /// How many records are in memory, for the program to read; with either backend.
    #[config(default = 1000, env = "SUPERVISOR_AUDIT_MEMORY_CAPACITY")]
    #[schemars(range(min = 1, max = MAX_COUNT))]
    pub memory_capacity: usize,
}

/// Where commands are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditBackend {
    /// In memory alone.
    Memory,
    /// In a file as well.
    File,
}

impl Default for AuditSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl AuditSection {
    /// `None`: nowhere.
    pub(in crate::config) fn lowered(&self) -> Option<Audit> {
        let audit = match (self.backend, &self.file_path) {
            (AuditBackend::File, Some(path)) => Audit::file(path).rotation(self.rotation.lowered()),
            _ => Audit::memory(),
        };
        let audit = audit
            .failure_strategy(self.failure_strategy)
            .max_defer_queue(self.max_defer_queue)
            .keep_in_memory(self.memory_capacity);
        self.enabled.then_some(audit)
    }
}
