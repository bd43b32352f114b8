//! What happened: one event type, the journal that remembers it, subscriptions that read it.

mod kind;
mod log;
mod ring;
mod stream;

pub use kind::{EventKind, SupervisorEvent, TreeEvent};
pub(crate) use log::log;
pub(crate) use ring::{Origin, Ring};
pub use stream::{EventItem, EventStream};
