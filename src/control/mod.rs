//! Steering and asking: the handle of a running tree.

mod carried_out;
mod children;
mod command;
mod handle;
mod health;
mod order;
mod outcome;
mod signal;
mod supervised;

pub use children::{AddedChild, Children};
pub use handle::{Supervisor, SupervisorHandle, WeakSupervisorHandle};
pub use health::{ControlPlane, Health};
pub use outcome::CommandOutcome;

pub use crate::{
    commanded::Change,
    meta::{CommandMeta, InvalidCommandMeta},
    shutdown::{ExitOutcome, RuntimeExitReport},
};
pub use supervised::SupervisedTask;
