use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what a panic elsewhere leaves usable: nothing here is left half done under a lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
