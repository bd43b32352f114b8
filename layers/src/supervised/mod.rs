//! All layers of a supervised child, in their order, from one policy.

mod layer;
mod policy;
mod run;
mod service;

pub(crate) use layer::Layers;
pub use layer::SupervisedLayer;
use layer::layers;
pub use policy::ChildPolicy;
pub use run::SupervisedRun;
pub use service::{SupervisedRuns, SupervisedService};
