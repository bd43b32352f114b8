use std::time::Duration;

use confique::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::of_defaults;
use crate::Rotation;

/// A tebibyte.
const MAX_BYTES: u64 = 1 << 40;

/// When the next file begins, and how much is kept.
#[derive(Debug, Clone, PartialEq, Config, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct RotationSection {
    /// A file of so many bytes is full: it gets a number behind its name, and the next one begins.
    #[config(default = 16777216)]
    #[schemars(range(min = 1024, max = MAX_BYTES))]
    pub max_file_bytes: u64,

    /// A file that is so old, in seconds, is full, too; whatever its age unless given.
    #[schemars(range(min = 1, max = 31536000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file_age_secs: Option<u64>,

    /// All files together hold at most so many bytes: the oldest are deleted.
    #[config(default = 134217728)]
    #[schemars(range(min = 1024, max = MAX_BYTES))]
    pub max_total_bytes: u64,
}

impl Default for RotationSection {
    fn default() -> Self {
        of_defaults()
    }
}

impl RotationSection {
    pub(super) fn lowered(&self) -> Rotation {
        let rotation = Rotation::default()
            .file_bytes(self.max_file_bytes)
            .total_bytes(self.max_total_bytes);
        match self.max_file_age_secs {
            Some(age) => rotation.file_age(Duration::from_secs(age)),
            None => rotation,
        }
    }
}
