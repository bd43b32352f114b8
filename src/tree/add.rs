use std::sync::Arc;

use supervisor_layers::StopCause;

use super::{Child, Scope, scope::Coming};
use crate::{
    SupervisorError,
    control::Change,
    spec::{Member, New, NewChild},
};

impl Scope {
    /// Adds a child and waits until it has started. One that does not start is taken out again.
    pub(crate) async fn add(
        &self,
        new: NewChild,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let child = self.take_in(new, correlation)?;
        self.come_up(&child, correlation).await?;
        Ok(child)
    }

    /// Adds a child and has it start.
    pub(crate) fn take_in(
        &self,
        new: NewChild,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let member = match new.0 {
            New::Typed(member) => member,
            New::Declared(declaration) => self.declared(&declaration)?,
        };
        self.take_in_as(Coming::Added, member, correlation)
    }

    /// Adds one more of a pool, as [`add`](Self::add) does.
    pub(super) async fn add_replica(
        &self,
        replica: Member,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let child = self.take_in_as(Coming::Replica, replica, correlation)?;
        self.come_up(&child, correlation).await?;
        Ok(child)
    }

    fn take_in_as(
        &self,
        coming: Coming,
        member: Member,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        let child = self.insert(member, coming, correlation)?;
        self.launch_first(&child);
        Ok(child)
    }

    /// Waits until a child that was taken in has started. One that does not start is taken out again.
    pub(crate) async fn come_up(
        &self,
        child: &Arc<Child>,
        correlation: u64,
    ) -> Result<(), SupervisorError> {
        let Err(not_started) = self.first_start(child).await else {
            return Ok(());
        };
        // Whoever came to depend on it meanwhile does so on nobody.
        Box::pin(self.evict(child, correlation)).await;
        Err(SupervisorError::StartFailed {
            path: child.path(),
            reason: not_started.to_string(),
        })
    }

    /// Ends a child and takes it out. One whose run cannot be ended is taken out all the same, and stays
    /// accounted for until it has ended.
    ///
    /// # Errors
    ///
    /// Siblings that depend on it; nothing has changed then.
    pub(crate) async fn remove(
        &self,
        child: &Arc<Child>,
        correlation: u64,
    ) -> Result<Change, SupervisorError> {
        let goes = self.let_go(child)?;
        Ok(self.see_off(child, goes, correlation).await)
    }

    /// Ends a child that was let go, and takes it out. One that goes, or has gone, without this is waited for.
    pub(crate) async fn see_off(&self, child: &Arc<Child>, goes: bool, correlation: u64) -> Change {
        if goes {
            self.evict(child, correlation).await;
        } else if !child.is_gone() {
            self.take_down(child, StopCause::Removal).await;
            // Its name is free also if whoever let it go has not come to that.
            self.forget(child);
        }
        child.removed(goes)
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
