//! All layers of a supervised child, in their order, from one policy.

mod layer;
mod policy;
mod service;

pub use layer::SupervisedLayer;
pub use policy::ChildPolicy;
pub use service::{SupervisedRun, SupervisedRuns, SupervisedService};
