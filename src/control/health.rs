use std::collections::BTreeMap;

use serde::Serialize;

use crate::spec::SupervisorPath;

/// Whether all is well, and if not, where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether commands are taken.
    pub control_plane: ControlPlane,
    /// How many children are in each status.
    pub children: BTreeMap<&'static str, usize>,
    /// Who is not as it should be, and why.
    pub degraded: Vec<(SupervisorPath, String)>,
}

impl Health {
    /// Nothing is degraded.
    pub fn is_healthy(&self) -> bool {
        self.degraded.is_empty()
    }
}

/// Whether commands are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlPlane {
    /// They are.
    Running,
    /// It was stopped; supervision goes on.
    Stopped,
    /// The tree is shutting down.
    ShuttingDown,
    /// The tree has ended.
    Ended,
}
