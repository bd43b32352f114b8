//! A running tree. A supervisor is a service like any other child; what concerns its children alone
//! happens in their own tasks, what concerns siblings here.

mod add;
mod bring_up;
mod child;
mod core;
mod deadlines;
mod dependants;
mod driver;
mod files;
mod order;
mod quiet;
mod root;
mod scale;
mod scope;
mod shared;
mod strategy;
mod supervise;
mod take_down;

pub(crate) use self::core::ScopeCore;
pub(crate) use child::Child;
pub(crate) use driver::ChildTask;
pub(crate) use root::{Root, Start};
pub(crate) use scale::Scaled;
pub(crate) use scope::Scope;
pub(crate) use shared::Tree;
