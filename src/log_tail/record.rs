use std::{borrow::Cow, fmt, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};
use tracing::{
    Event,
    field::{Field, Visit},
};

use crate::event::rfc3339;

/// One record that a child made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its number among all records of the tail, from 1.
    pub sequence: u64,
    /// When, by the wall clock.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    /// How severe: `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: Cow<'static, str>,
    /// Where it comes from, as `tracing` has it.
    pub target: Cow<'static, str>,
    /// What it says.
    pub message: String,
    /// What else it says, by name, in its order.
    pub fields: Vec<(String, String)>,
    /// The child.
    pub path: Arc<str>,
    /// Its run.
    pub generation: u64,
    /// How many starts in a row had not become healthy.
    pub attempt: u32,
    /// It was longer than a record may be.
    pub cut: bool,
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            level,
            path,
            generation,
            message,
            ..
        } = self;
        let at = humantime::format_rfc3339_millis(*at);
        write!(f, "{at} {level:>5} {path} run {generation}: {message}")?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value}")?;
        }
        match self.cut {
            true => f.write_str(" …"),
            false => Ok(()),
        }
    }
}

/// What an event says, up to so many bytes.
pub(super) struct Said {
    pub(super) message: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) cut: bool,
    room: usize,
}

impl Said {
    pub(super) fn by(event: &Event<'_>, room: usize) -> Self {
        let mut said = Self {
            message: String::new(),
            fields: Vec::new(),
            cut: false,
            room,
        };
        event.record(&mut said);
        said
    }

    fn take(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded {
            text: String::new(),
            room: self.room,
            cut: false,
        };
        // The bound is no error of the value's.
        let _ = fmt::write(&mut text, value);
        self.room -= text.text.len();
        self.cut |= text.cut;
        if field.name() == "message" {
            self.message = text.text;
            return;
        }
        match self.room.checked_sub(field.name().len()) {
            Some(room) => {
                self.room = room;
                self.fields.push((field.name().to_owned(), text.text));
            }
            None => self.cut = true,
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format_args!("{value:?}"));
    }
}

/// Text that takes no more than there is room for, and stops who writes it there.
struct Bounded {
    text: String,
    room: usize,
    cut: bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let mut end = more.len().min(self.room);
        while !more.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&more[..end]);
        self.room -= end;
        if end == more.len() {
            return Ok(());
        }
        (self.cut, self.room) = (true, 0);
        Err(fmt::Error)
    }
}
