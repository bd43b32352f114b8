use std::{
    ops::{Deref, DerefMut},
    sync::MutexGuard,
};

use super::{control::Control, waiters::Woken};

/// The state, locked. Whoever waits for it to change is woken when it is unlocked: woken before, they would
/// come to wait for the lock.
pub(super) struct Locked<'a> {
    // In this order they are dropped.
    control: MutexGuard<'a, Control>,
    woken: Woken,
}

impl<'a> Locked<'a> {
    pub(super) fn new(control: MutexGuard<'a, Control>) -> Self {
        Self {
            control,
            woken: Woken::default(),
        }
    }

    /// Whoever watches the child looks again.
    #[inline]
    pub(super) fn tell_watchers(&mut self) {
        self.woken.others(&mut self.control.waiters);
    }

    /// The same of a run's end, which its own task knows of.
    #[inline]
    pub(super) fn tell_of_end(&mut self) {
        self.woken.others_and_leaning(&mut self.control.waiters);
    }

    /// Whoever waits for the child to change looks again.
    pub(super) fn stir(&mut self) {
        self.woken.all(&mut self.control.waiters);
    }
}

impl Deref for Locked<'_> {
    type Target = Control;

    #[inline]
    fn deref(&self) -> &Control {
        &self.control
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Control {
        &mut self.control
    }
}
