//! What happened: one event type, the journal that remembers it, subscriptions that read it.

mod entry;
mod filter;
mod journal;
mod kind;
mod lag;
mod log;
mod records;
mod ring;
mod severity;
mod stream;

pub(crate) use entry::{Command, LastEnd};
pub use filter::EventFilter;
pub(crate) use journal::Copying;
pub use journal::{Journal, JournalFile, JournalItem};
pub(crate) use kind::rfc3339;
pub use kind::{EventKind, SupervisorEvent, TreeEvent};
pub(crate) use lag::Lag;
pub use lag::LagLevel;
pub(crate) use log::{log, log_command};
pub(crate) use ring::{Origin, Ring};
pub use severity::Severity;
pub use stream::{EventItem, EventStream};
