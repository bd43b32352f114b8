//! What is: the tree at one moment, read from the children's slots.

mod display;
mod node;
pub(crate) mod status;

pub use node::{ExitState, NodeState, SupervisorNode, TreeState};
pub use status::NodeStatus;
