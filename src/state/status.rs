use std::sync::Arc;

use serde::{Serialize, Serializer};
use supervisor_layers::ChildStatus;

use crate::{spec::SupervisorPath, tree::Scope};

/// What one child is doing, and no more: for who looks at many of them, and often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Where it stands.
    pub path: SupervisorPath,
    /// What it is doing.
    #[serde(serialize_with = "name")]
    pub status: ChildStatus,
}

fn name<S: Serializer>(status: &ChildStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

/// Of all below a supervisor: each supervisor's children side by side in start order, before those below them.
pub(crate) fn below(scope: &Arc<Scope>) -> Vec<NodeStatus> {
    let mut statuses = Vec::new();
    let mut scopes = vec![scope.clone()];
    let mut next = 0;
    while let Some(scope) = scopes.get(next).cloned() {
        next += 1;
        scope.look_at_children(|children| {
            statuses.reserve(children.len());
            for child in children {
                statuses.push(NodeStatus {
                    path: child.path(),
                    status: child.gate().status(),
                });
                scopes.extend(child.scope().cloned());
            }
        });
    }
    statuses
}
