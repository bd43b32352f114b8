//! What is to be supervised, and how: plain data.

mod backpressure;
mod child;
mod member;
mod path;
mod policy;
mod pool;
mod service;
mod supervisor;

pub use backpressure::{Backpressure, BackpressureStrategy};
pub use child::ChildSpec;
pub use member::NewChild;
pub(crate) use member::{Declare, Member, New};
pub(crate) use path::check_id;
pub use path::{InvalidId, SupervisorPath};
pub use policy::{AutoShutdown, EscalationPolicy, OnFuseBlown, ShutdownOrder, SupervisionStrategy};
pub(crate) use pool::Replicas;
pub(crate) use service::{Build, Lives, Supervised};
pub(crate) use supervisor::TreeSettings;
pub use supervisor::{DynamicChildren, SupervisorSpec};
