use std::{any::Any, sync::Arc};

use supervisor_layers::TaskContext;

use super::{WeakSupervisorHandle, handle::Shared};
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
        let handle = core.tree.handle.get()?.upgrade()?;
        let shared = handle.downcast::<Shared>().ok()?;
        Some(WeakSupervisorHandle::new(Arc::downgrade(&shared)))
    }
}
