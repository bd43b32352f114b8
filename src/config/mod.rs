//! Configuration files: read, checked as a whole, and lowered to a [`SupervisorSpec`](crate::SupervisorSpec).
//!
//! [`SupervisorConfig::load`] reads a file and what it includes through rust-config-tree, with environment
//! variables (`SUPERVISOR_…`, named in the template) on top, and reports everything that is wrong at once,
//! each with file, key path, value and way out. [`SupervisorConfig::into_spec`] joins it with the program's
//! [`Factories`]. Nothing starts before both have succeeded.
//!
//! ```
//! use rust_supervisor::{Factories, SupervisorConfig};
//!
//! let config = SupervisorConfig::from_yaml("
//! name: shop
//! policy: {max_backoff_ms: 10000}
//! children:
//!   - {name: gateway, factory: gateway, policy: {initial_backoff_ms: 50}}
//! ")?;
//! let factories = Factories::new().worker("gateway", |(): ()| |ctx| async move { ctx.cancelled().await });
//! let spec = config.into_spec(&factories)?;
//! assert_eq!(spec.id(), "shop");
//! # Ok::<(), rust_supervisor::ConfigError>(())
//! ```

mod check;
pub mod configurable;
mod error;
mod factories;
mod load;
mod lower;
mod nearest;
mod parse;
mod schema_check;
mod source;
mod template;

pub use configurable::SupervisorConfig;
pub use error::{ConfigError, ConfigProblem, ProblemKind};
pub use factories::Factories;
