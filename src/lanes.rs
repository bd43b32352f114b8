use std::{
    iter,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::sync::{Apart, lock};

/// One of a thing for each thread, so that threads which write by turns hand nothing to each other. Who reads
/// brings them together.
pub(crate) struct Lanes<T>(Box<[Apart<Mutex<T>>]>);

impl<T: Default> Default for Lanes<T> {
    /// So many that the threads of a runtime seldom share one.
    fn default() -> Self {
        let lanes = 2 * thread::available_parallelism().map_or(1, usize::from);
        Self(iter::repeat_with(Apart::default).take(lanes).collect())
    }
}

impl<T> Lanes<T> {
    /// The one of this thread.
    pub(crate) fn own(&self) -> MutexGuard<'_, T> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever writes while its thread ends has any.
        let thread = THREAD.try_with(|thread| *thread).unwrap_or_default();
        lock(self.at(thread))
    }

    /// The one of some thread, counted round and round.
    pub(crate) fn at(&self, thread: usize) -> &Mutex<T> {
        &self.0[thread % self.0.len()].0
    }

    /// All of them at once.
    pub(crate) fn all(&self) -> Vec<MutexGuard<'_, T>> {
        self.0.iter().map(|lane| lock(&lane.0)).collect()
    }
}
