use std::sync::Arc;

use supervisor_layers::StopCause;

use super::{Child, Scope, scope::Coming};
use crate::{
    SupervisorError,
    spec::{Member, New, NewChild},
};

impl Scope {
    /// Adds a child and waits until it has started. One that does not start is taken out again.
    pub(crate) async fn add(
        &self,
        new: NewChild,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let member = match new.0 {
            New::Typed(member) => *member,
            New::Declared(declaration) => self.declared(&declaration)?,
        };
        self.add_member(member, Coming::Added, correlation).await
    }

    pub(super) async fn add_member(
        &self,
        member: Member,
        coming: Coming,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let child = self.insert(member, coming, correlation)?;
        self.launch_first(&child);
        match self.first_start(&child).await {
            Ok(()) => Ok(child),
            Err(not_started) => {
                // Whoever came to depend on it meanwhile does so on nobody.
                Box::pin(self.evict(&child, correlation)).await;
                Err(SupervisorError::StartFailed {
                    path: child.path(),
                    reason: not_started.to_string(),
                })
            }
        }
    }

    /// Ends a child and takes it out. One whose run cannot be ended is taken out all the same, and stays
    /// accounted for until it has ended. `false`: somebody else took it out meanwhile.
    ///
    /// # Errors
    ///
    /// Siblings that depend on it; nothing has changed then.
    pub(crate) async fn remove(
        &self,
        child: &Arc<Child>,
        correlation: u64,
    ) -> Result<bool, SupervisorError> {
        let first = self.let_go(child)?;
        if first {
            self.evict(child, correlation).await;
        } else {
            self.take_down(child, StopCause::Removal).await;
        }
        Ok(first)
    }

    pub(super) async fn evict(&self, child: &Arc<Child>, correlation: u64) {
        child.gate().correlate(correlation);
        self.take_down(child, StopCause::Removal).await;
        self.dismiss(child);
    }

    /// Gives a child a task again whose last one was aborted. One that has not had any yet is started in
    /// its turn. `false`: neither, as its supervisor is down, or the tree shuts down.
    pub(crate) fn revive(&self, child: &Arc<Child>) -> bool {
        let begun = child.has_had_task();
        let launched = self.launch(child, |gate| {
            begun && !self.tree().is_closing() && gate.restart().is_some()
        });
        launched || (!begun && self.is_live()) || !child.is_over()
    }
}
