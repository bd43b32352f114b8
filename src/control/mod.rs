//! Steering and asking: the handle of a running tree.

mod command;
mod handle;
mod health;
mod meta;
mod outcome;
mod signal;
mod supervised;

pub(crate) use handle::Shared;
pub use handle::{Supervisor, SupervisorHandle, WeakSupervisorHandle};
pub use health::{ControlPlane, Health};
pub use meta::{CommandMeta, InvalidCommandMeta};
pub use outcome::{Change, CommandOutcome, ExitOutcome, RuntimeExitReport};
pub use supervised::SupervisedTask;
