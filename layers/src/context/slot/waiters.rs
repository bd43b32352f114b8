use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
};

use smallvec::SmallVec;

/// Who is to be woken when a child changes. Behind its slot's lock.
#[derive(Default)]
pub(super) struct Waiters {
    /// The child's own task, which is nearly always the only one, until it is woken.
    task: Option<Waker>,
    others: Others,
    /// How many waits for a stop in the same task lean on that.
    leaning: u32,
}

/// Takes no more than a word until there is one.
#[derive(Default)]
struct Others(Option<Box<SmallVec<[Waiting; 2]>>>);

struct Waiting {
    key: Key,
    waker: Waker,
}

/// What a wait is known by: no other has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(NonZeroU64);

impl Key {
    /// Of a wait that is not taken back, only told.
    const NONE: Self = Self(NonZeroU64::MIN);
    /// Of a wait that leans on the child's own task.
    const TASK: Self = Self(NonZeroU64::MAX);

    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::MIN.saturating_add(number + 1))
    }
}

impl Waiters {
    /// The child's task waits, for whatever concerns it.
    pub(super) fn register(&mut self, waker: &Waker) {
        match &self.task {
            None => self.task = Some(waker.clone()),
            Some(task) if task.will_wake(waker) => {}
            // It is polled by another one than before, or parts of it by several.
            Some(_) if self.others.have(waker) => {}
            Some(_) => self.others.put(Key::NONE, waker),
        }
    }

    /// Its task waits for nothing any more, and is not to be kept for that.
    pub(super) fn forget_task(&mut self) -> Option<Waker> {
        self.task.take()
    }

    /// Somebody waits for whatever changes, until that is taken back or told.
    pub(super) fn enter(&mut self, key: &mut Option<Key>, waker: &Waker) {
        match key.and_then(|key| self.others.find(key)) {
            Some(waiting) => waiting.waker.clone_from(waker),
            None => self.others.put(*key.insert(Key::new()), waker),
        }
    }

    /// The same for a stop, of which the child's task is told in any case.
    pub(super) fn enter_for_stop(&mut self, key: &mut Option<Key>, waker: &Waker) {
        let task = self.task.get_or_insert_with(|| waker.clone());
        match (*key, task.will_wake(waker)) {
            (Some(Key::TASK), true) => {}
            (Some(Key::TASK), false) => {
                self.leaning -= 1;
                *key = None;
                self.enter(key, waker);
            }
            (None, true) => {
                self.leaning += 1;
                *key = Some(Key::TASK);
            }
            _ => self.enter(key, waker),
        }
    }

    /// Takes a wait back.
    pub(super) fn leave(&mut self, key: Key) -> Option<Waker> {
        if key == Key::TASK {
            self.leaning -= 1;
            return None;
        }
        self.others.take_out(key)
    }
}

/// Those who are to look again.
#[derive(Default)]
pub(super) struct Woken {
    task: Option<Waker>,
    others: Others,
}

impl Woken {
    /// All but the child's task.
    #[inline]
    pub(super) fn others(&mut self, waiters: &mut Waiters) {
        if waiters.others.0.is_some() {
            self.others.take_in(&mut waiters.others);
        }
    }

    /// The same of what is in the task's own doing: it knows, unless it waits for that itself.
    #[inline]
    pub(super) fn others_and_leaning(&mut self, waiters: &mut Waiters) {
        self.others(waiters);
        if waiters.leaning > 0 {
            self.task(waiters);
        }
    }

    pub(super) fn all(&mut self, waiters: &mut Waiters) {
        self.others(waiters);
        self.task(waiters);
    }

    fn task(&mut self, waiters: &mut Waiters) {
        if let Some(task) = waiters.task.take() {
            self.task = Some(task);
        }
    }

    #[cold]
    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
        if let Some(others) = self.others.0.take() {
            others.into_iter().for_each(|waiting| waiting.waker.wake());
        }
    }
}

/// To be dropped with the slot unlocked: whoever looks would come to wait for the lock.
impl Drop for Woken {
    #[inline]
    fn drop(&mut self) {
        if self.task.is_some() || self.others.0.is_some() {
            self.wake();
        }
    }
}

impl Others {
    fn put(&mut self, key: Key, waker: &Waker) {
        let waker = waker.clone();
        self.0.get_or_insert_default().push(Waiting { key, waker });
    }

    fn have(&self, waker: &Waker) -> bool {
        let mut waiting = self.0.iter().flat_map(|others| others.iter());
        waiting.any(|waiting| waiting.waker.will_wake(waker))
    }

    fn find(&mut self, key: Key) -> Option<&mut Waiting> {
        let mut waiting = self.0.as_mut()?.iter_mut();
        waiting.find(|waiting| waiting.key == key)
    }

    fn take_out(&mut self, key: Key) -> Option<Waker> {
        let others = self.0.as_mut()?;
        let at = others.iter().position(|waiting| waiting.key == key)?;
        let waiting = others.swap_remove(at);
        if others.is_empty() {
            self.0 = None;
        }
        Some(waiting.waker)
    }

    fn take_in(&mut self, more: &mut Self) {
        match &mut self.0 {
            None => self.0 = more.0.take(),
            Some(others) => others.extend(more.0.take().into_iter().flat_map(|more| *more)),
        }
    }
}
