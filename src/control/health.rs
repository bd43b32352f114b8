use std::collections::BTreeMap;

use serde::Serialize;
use supervisor_layers::{ChildStatus, Gate};

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
    /// Notes for what reasons a child is not well, if it is not.
    pub(super) fn note(&mut self, path: SupervisorPath, gate: &Gate) {
        let snapshot = gate.snapshot();
        let status = snapshot.status.to_string();
        let why = match snapshot.status {
            ChildStatus::Failed | ChildStatus::Aborted | ChildStatus::Lingering => {
                match snapshot.last_exit.and_then(|last| last.message) {
                    Some(message) => Some(format!("{status}: {message}")),
                    None => Some(status),
                }
            }
            ChildStatus::Quarantined { .. } => Some(status),
            _ => None,
        };
        let stuck = snapshot
            .stuck
            .map(|lasts| format!("stuck: a poll has blocked its thread for {lasts:.1?}"));
        let whys = why.into_iter().chain(stuck);
        self.degraded.extend(whys.map(|why| (path.clone(), why)));
    }

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
