use std::sync::Arc;

use supervisor_layers::{StopCause, TaskFailure};

use super::{Child, Scope};
use crate::{SupervisorError, spec::ChildSpec};

/// A child that was added and has started.
pub(crate) struct Addition {
    pub(crate) child: Arc<Child>,
}

impl Scope {
    /// Adds a child and waits until it has started. One that does not start is taken out again.
    pub(crate) async fn add(
        self: &Arc<Self>,
        spec: ChildSpec,
    ) -> Result<Addition, SupervisorError> {
        let child = self.insert(spec)?;
        self.launch(&child);
        match self.first_start(&child).await {
            Ok(()) => Ok(Addition { child }),
            Err(failure) => {
                let error = self.start_error(&child, &failure);
                self.remove(&child).await;
                Err(error)
            }
        }
    }

    fn start_error(&self, child: &Child, failure: &TaskFailure) -> SupervisorError {
        match self.tree().start_failure() {
            Some((path, reason)) => SupervisorError::StartFailed { path, reason },
            None => SupervisorError::StartFailed {
                path: child.path(),
                reason: failure.to_string(),
            },
        }
    }

    /// Ends a child and takes it out. One whose run cannot be ended is taken out all the same, and stays
    /// accounted for until it has ended.
    pub(crate) async fn remove(self: &Arc<Self>, child: &Arc<Child>) {
        self.take_down(child, StopCause::Removal).await;
        self.forget(child);
        if !child.is_gone() {
            child.gate().mark_lingering();
            self.tree().note_lingering(child);
        }
    }

    /// Gives a child a task again whose last one was aborted.
    pub(crate) fn revive(self: &Arc<Self>, child: &Arc<Child>) {
        if child.is_over() && self.is_live() {
            child.gate().reopen(false);
            super::driver::spawn(self, child);
        }
    }
}
