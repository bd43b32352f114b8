//! The atomics of what `tests/loom.rs` tries in every order: it compiles the same files with loom's.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
