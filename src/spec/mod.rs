//! What is to be supervised, and how: plain data.

mod child;
mod path;
mod policy;
mod service;
mod supervisor;

pub use child::ChildSpec;
pub(crate) use path::check_id;
pub use path::{InvalidId, SupervisorPath};
pub use policy::{AutoShutdown, EscalationPolicy, OnFuseBlown, ShutdownOrder, SupervisionStrategy};
pub(crate) use service::{BoxedChild, Build};
pub(crate) use supervisor::Member;
pub use supervisor::{DynamicChildren, SupervisorSpec};
