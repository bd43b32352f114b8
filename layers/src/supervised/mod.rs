//! All layers of a supervised child, in their order, from one policy.

mod layer;
mod policy;

pub use layer::{SupervisedLayer, SupervisedService};
pub use policy::ChildPolicy;
