use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
};

use smallvec::SmallVec;

/// Who is to be woken when a child changes. Behind its slot's lock.
#[derive(Default)]
pub(super) struct Waiters {
    /// The child's own task, which is nearly always the only one.
    task: Option<Waker>,
    /// How many waits for a stop in the same task lean on that.
    leaning: u32,
    /// Other waits for a stop.
    runs: List,
    /// Waits for anything.
    watchers: List,
}

/// Takes no more than a word until somebody is in it.
#[derive(Default)]
struct List(Option<Box<SmallVec<[Waiting; 2]>>>);

struct Waiting {
    key: Key,
    waker: Waker,
}

/// What a wait is known by: no other has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// Of a wait that is not taken back, only told.
    const NONE: Self = Self(0);
    /// Of a wait that leans on the child's own task.
    const TASK: Self = Self(u64::MAX);

    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Stop,
    Anything,
}

/// Those who are to look again.
#[derive(Default)]
pub(super) struct Woken {
    task: Option<Waker>,
    runs: List,
    watchers: List,
}

impl Waiters {
    /// The child's task waits, for whatever concerns it.
    pub(super) fn register(&mut self, waker: &Waker) {
        match &self.task {
            None => self.task = Some(waker.clone()),
            Some(task) if task.will_wake(waker) => {}
            // It is polled by another one than before, or parts of it by several.
            Some(_) if self.runs.has(waker) => {}
            Some(_) => self.runs.put(Key::NONE, waker),
        }
    }

    /// Its task waits for nothing any more, and is not to be kept for that.
    pub(super) fn forget_task(&mut self) -> Option<Waker> {
        self.task.take()
    }

    /// Somebody waits, until that is taken back or told.
    pub(super) fn enter(&mut self, what: For, key: &mut Option<Key>, waker: &Waker) {
        if what == For::Stop {
            let task = self.task.as_ref();
            match (*key, task.is_some_and(|task| task.will_wake(waker))) {
                (Some(Key::TASK), true) => return,
                (Some(Key::TASK), false) => {
                    self.leaning -= 1;
                    *key = None;
                }
                (None, true) => {
                    self.leaning += 1;
                    *key = Some(Key::TASK);
                    return;
                }
                _ => {}
            }
        }
        let list = self.list(what);
        match key.and_then(|key| list.find(key)) {
            Some(waiting) => waiting.waker.clone_from(waker),
            None => list.put(*key.insert(Key::new()), waker),
        }
    }

    /// Takes a wait back.
    pub(super) fn leave(&mut self, what: For, key: Key) -> Option<Waker> {
        if key == Key::TASK {
            self.leaning -= 1;
            return None;
        }
        self.list(what).take_out(key)
    }

    fn list(&mut self, what: For) -> &mut List {
        match what {
            For::Stop => &mut self.runs,
            For::Anything => &mut self.watchers,
        }
    }
}

impl Woken {
    /// Who watches the child.
    #[inline]
    pub(super) fn watchers(&mut self, waiters: &mut Waiters) {
        self.watchers.take_in(&mut waiters.watchers);
    }

    /// They, and who waits for the stop of a run.
    #[inline]
    pub(super) fn others(&mut self, waiters: &mut Waiters) {
        self.watchers(waiters);
        self.runs.take_in(&mut waiters.runs);
        if waiters.leaning > 0 {
            self.task(waiters);
        }
    }

    /// They, and the child's own task.
    pub(super) fn all(&mut self, waiters: &mut Waiters) {
        self.others(waiters);
        self.task(waiters);
    }

    fn task(&mut self, waiters: &Waiters) {
        if self.task.is_none() {
            self.task = waiters.task.clone();
        }
    }

    #[cold]
    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
        self.runs.wake();
        self.watchers.wake();
    }
}

/// To be dropped with the slot unlocked: whoever looks would come to wait for the lock.
impl Drop for Woken {
    #[inline]
    fn drop(&mut self) {
        if self.task.is_some() || self.runs.0.is_some() || self.watchers.0.is_some() {
            self.wake();
        }
    }
}

impl List {
    fn put(&mut self, key: Key, waker: &Waker) {
        let waker = waker.clone();
        self.0.get_or_insert_default().push(Waiting { key, waker });
    }

    fn has(&self, waker: &Waker) -> bool {
        let mut waiting = self.0.iter().flat_map(|list| list.iter());
        waiting.any(|waiting| waiting.waker.will_wake(waker))
    }

    fn find(&mut self, key: Key) -> Option<&mut Waiting> {
        self.0
            .as_mut()?
            .iter_mut()
            .find(|waiting| waiting.key == key)
    }

    fn take_out(&mut self, key: Key) -> Option<Waker> {
        let list = self.0.as_mut()?;
        let at = list.iter().position(|waiting| waiting.key == key)?;
        let waiting = list.swap_remove(at);
        if list.is_empty() {
            self.0 = None;
        }
        Some(waiting.waker)
    }

    #[inline]
    fn take_in(&mut self, other: &mut Self) {
        if other.0.is_none() {
            return;
        }
        match &mut self.0 {
            None => self.0 = other.0.take(),
            Some(list) => list.extend(other.0.take().into_iter().flat_map(|other| *other)),
        }
    }

    fn wake(&mut self) {
        if let Some(list) = self.0.take() {
            list.into_iter().for_each(|waiting| waiting.waker.wake());
        }
    }
}
