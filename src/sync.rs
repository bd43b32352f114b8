use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what a panic elsewhere leaves usable: nothing here is left half done under a lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On cache lines of its own: what threads write by turns is not to slow down their reading of what is beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);
