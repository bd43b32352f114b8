use std::any::Any;

use supervisor_layers::TaskContext;

use super::WeakSupervisorHandle;
use crate::tree::ScopeCore;

/// What a run in a tree can ask of its context beyond what every run can.
pub trait SupervisedTask {
    /// A handle of the tree this run is in, that does not keep it alive; `None` for a run without one.
    fn supervisor(&self) -> Option<WeakSupervisorHandle>;
}

impl SupervisedTask for TaskContext {
    fn supervisor(&self) -> Option<WeakSupervisorHandle> {
        let owner: &dyn Any = self.owner()?.as_ref();
        let core = owner.downcast_ref::<ScopeCore>()?;
        core.tree
            .handle
            .get()
            .cloned()
            .map(WeakSupervisorHandle::new)
    }
}
