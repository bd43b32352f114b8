use std::time::Duration;

/// How large and how old a file grows before the next one begins, and how much is kept.
///
/// A file that is full is renamed to its name and a number that grows, `audit.jsonl.7`; the oldest of them are
/// deleted when all together are more than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    pub(crate) max_file_bytes: u64,
    pub(crate) max_file_age: Option<Duration>,
    pub(crate) max_total_bytes: u64,
}

impl Default for Rotation {
    /// 16 MiB per file, 128 MiB in all, whatever their age.
    fn default() -> Self {
        Self {
            max_file_bytes: 16 << 20,
            max_file_age: None,
            max_total_bytes: 128 << 20,
        }
    }
}

impl Rotation {
    /// A file is full with so many bytes; a line is never divided.
    #[must_use]
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = bytes;
        self
    }

    /// A file is full when it is so old, by the wall clock; looked at when something is written.
    #[must_use]
    pub fn file_age(mut self, age: Duration) -> Self {
        self.max_file_age = Some(age);
        self
    }

    /// All files together hold at most so many bytes; the one being written is never deleted.
    #[must_use]
    pub fn total_bytes(mut self, bytes: u64) -> Self {
        self.max_total_bytes = bytes;
        self
    }
}
