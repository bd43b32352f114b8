//! Who commanded what, why, and what came of it: kept in memory, and in a file if one is named.

mod log;
mod queue;
mod record;
mod settings;

use std::{io, path::Path};

use crate::record::{Lines, Skipped};
pub(crate) use log::AuditLog;
pub(crate) use queue::Writing;
pub(crate) use record::Entry;
pub use record::{AuditEntry, AuditRecord, AuditedCommand};
pub(crate) use settings::Backend;
pub use settings::{Audit, AuditFailureStrategy};

/// Reads an audit file, and the files rotated before it: the counterpart of
/// [`Journal`](crate::Journal).
pub struct AuditFile {
    lines: Lines<AuditRecord>,
}

impl AuditFile {
    /// From the oldest record there is.
    ///
    /// # Errors
    ///
    /// There is no such file, or it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            lines: Lines::open(path.as_ref())?,
        })
    }

    /// What stands at the very end and is no whole line: it is being written now, or never will be.
    pub fn unfinished(&self) -> Option<Skipped> {
        self.lines.unfinished()
    }
}

impl Iterator for AuditFile {
    /// A record, or a part of the file that is none.
    type Item = io::Result<Result<AuditRecord, Skipped>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.next().transpose()
    }
}
