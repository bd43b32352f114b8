//! What happened: one event type, the journal that remembers it, subscriptions that read it.

mod journal;
mod kind;
mod log;
mod stream;

pub(crate) use journal::{Journal, Origin};
pub use kind::{EventKind, SupervisorEvent, TreeEvent};
pub(crate) use log::log;
pub use stream::{EventItem, EventStream};
