use std::sync::Arc;

use supervisor_layers::StopCause;

use super::{Child, Scope};
use crate::{SupervisorError, spec::ChildSpec};

impl Scope {
    /// Adds a child and waits until it has started. One that does not start is taken out again.
    pub(crate) async fn add(
        self: &Arc<Self>,
        spec: ChildSpec,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let child = self.insert(spec, correlation)?;
        self.launch_first(&child);
        match self.first_start(&child).await {
            Ok(()) => Ok(child),
            Err(not_started) => {
                self.remove(&child, correlation).await;
                Err(SupervisorError::StartFailed {
                    path: child.path(),
                    reason: not_started.to_string(),
                })
            }
        }
    }

    /// Ends a child and takes it out. One whose run cannot be ended is taken out all the same, and stays
    /// accounted for until it has ended.
    pub(crate) async fn remove(self: &Arc<Self>, child: &Arc<Child>, correlation: u64) {
        child.gate().correlate(correlation);
        self.let_go(child);
        self.take_down(child, StopCause::Removal).await;
        self.dismiss(child);
    }

    /// Gives a child a task again whose last one was aborted.
    pub(crate) fn revive(self: &Arc<Self>, child: &Arc<Child>) {
        self.launch(child, |gate| {
            !self.tree().is_closing() && gate.restart().is_some()
        });
    }
}
