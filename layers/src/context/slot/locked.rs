use std::{
    ops::{Deref, DerefMut},
    sync::MutexGuard,
};

use smallvec::SmallVec;

use super::{Slot, control::Control};

/// The state, locked. Whoever waits for it to change is told when it is unlocked: told before, they would
/// come to wait for the lock.
pub(super) struct Locked<'a> {
    pub(super) slot: &'a Slot,
    /// Some until it is dropped.
    pub(super) control: Option<MutexGuard<'a, Control>>,
    pub(super) told: Told,
}

/// Who is to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Nobody,
    /// Those who watch the child.
    Watchers,
    /// They, and its run.
    All,
}

impl Locked<'_> {
    /// Whoever watches the child looks again.
    pub(super) fn tell_watchers(&mut self) {
        self.told = self.told.max(Told::Watchers);
    }

    /// Whoever waits for the child to change looks again.
    pub(super) fn stir(&mut self) {
        self.told = Told::All;
    }

    fn tell(&mut self) {
        let wakers = match self.told {
            Told::All => std::mem::take(&mut self.wakers),
            _ => SmallVec::new(),
        };
        self.control = None;
        for waker in wakers {
            waker.wake();
        }
        match self.told {
            Told::All => self.slot.changed.notify_waiters(),
            _ => self.slot.tell_watchers(),
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Control;

    #[inline]
    fn deref(&self) -> &Control {
        let Some(control) = &self.control else {
            unreachable!("it is locked")
        };
        control
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Control {
        let Some(control) = &mut self.control else {
            unreachable!("it is locked")
        };
        control
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.told != Told::Nobody {
            self.tell();
        }
    }
}
