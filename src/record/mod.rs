//! Files of checksummed JSON lines, rotated: what the journal file and the audit file are made of.

mod file;
mod line;
mod lines;
mod rotation;

pub(crate) use file::{LineFile, RETRY};
pub(crate) use line::encode;
pub(crate) use lines::Lines;
pub use lines::Skipped;
pub use rotation::Rotation;
