use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Rotation;

/// What becomes of commands that the audit file cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditFailureStrategy {
    /// A command is carried out once its record is on storage, and refused if that fails.
    #[default]
    FailClosed,
    /// A command does not wait for its record. Those that cannot be written wait in memory, up to a
    /// number, and commands are refused from there on.
    DeferBounded,
}

/// Where commands are recorded, and what happens where they cannot be.
///
/// The last records are in memory in any case, for
/// [`SupervisorHandle::audit_records`](crate::SupervisorHandle::audit_records).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub(crate) backend: Backend,
    pub(crate) failure_strategy: AuditFailureStrategy,
    pub(crate) max_defer_queue: usize,
    pub(crate) memory: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    File { path: PathBuf, rotation: Rotation },
}

impl Default for Audit {
    fn default() -> Self {
        Self::memory()
    }
}

impl Audit {
    /// In memory alone: the last thousand records, gone with the process.
    pub fn memory() -> Self {
        Self {
            backend: Backend::Memory,
            failure_strategy: AuditFailureStrategy::default(),
            max_defer_queue: 1000,
            memory: 1000,
        }
    }

    /// In a file as well, appended to what is there; its directory has to be there.
    ///
    /// Records are written together and synced to storage (`fdatasync`) after each writing, before any of
    /// their commands goes on: what was answered is in the file, whatever happens to the process or, as far
    /// as its storage keeps its word, to the machine.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            backend: Backend::File {
                path: path.into(),
                rotation: Rotation::default(),
            },
            ..Self::memory()
        }
    }

    /// When the next file begins, and how much is kept. Without effect in memory.
    #[must_use]
    pub fn rotation(mut self, new: Rotation) -> Self {
        if let Backend::File { rotation, .. } = &mut self.backend {
            *rotation = new;
        }
        self
    }

    /// What becomes of commands that the file cannot take.
    #[must_use]
    pub fn failure_strategy(mut self, strategy: AuditFailureStrategy) -> Self {
        self.failure_strategy = strategy;
        self
    }

    /// With [`DeferBounded`](AuditFailureStrategy::DeferBounded), how many records may wait while the file
    /// cannot be written.
    #[must_use]
    pub fn max_defer_queue(mut self, records: usize) -> Self {
        self.max_defer_queue = records;
        self
    }

    /// How many records are in memory.
    #[must_use]
    pub fn keep_in_memory(mut self, records: usize) -> Self {
        self.memory = records;
        self
    }
}
