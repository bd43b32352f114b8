use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    Look, Slot,
    waiters::{For, Key},
};

/// Who waits for a child to change.
impl Slot {
    /// Waits until `f` finds something; it is asked whenever the child may have changed, with the slot locked.
    pub(crate) async fn until_seen<T>(&self, mut f: impl FnMut(&Look<'_>) -> Option<T>) -> T {
        let mut wait = Wait::new(self, For::Anything);
        poll_fn(|cx| {
            let mut control = self.peek();
            match f(&Look::new(self, &control)) {
                Some(found) => Poll::Ready(found),
                None => {
                    control.waiters.enter(wait.what, &mut wait.key, cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The same of what is not behind the slot's lock.
    pub(crate) async fn until<T>(&self, mut f: impl FnMut() -> Option<T>) -> T {
        let mut wait = Wait::new(self, For::Anything);
        poll_fn(|cx| {
            if let Some(found) = f() {
                return Poll::Ready(found);
            }
            wait.enter(cx);
            // It may have changed before.
            f().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Something that is not behind the slot's lock has changed.
    pub(crate) fn tell_watchers(&self) {
        self.lock().tell_watchers();
    }

    /// Waits for the stop of a run.
    pub(crate) fn cancelled(&self, generation: u64) -> Cancelled<'_> {
        Cancelled {
            wait: Wait::new(self, For::Stop),
            generation,
        }
    }
}

/// A wait that ends when it is dropped.
#[derive(Debug)]
struct Wait<'a> {
    slot: &'a Slot,
    what: For,
    key: Option<Key>,
}

impl<'a> Wait<'a> {
    fn new(slot: &'a Slot, what: For) -> Self {
        Self {
            slot,
            what,
            key: None,
        }
    }

    fn enter(&mut self, cx: &Context<'_>) {
        let mut control = self.slot.peek();
        control.waiters.enter(self.what, &mut self.key, cx.waker());
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // A waker is somebody else's code: it is dropped with the slot unlocked.
            let _waker = self.slot.peek().waiters.leave(self.what, key);
        }
    }
}

/// See [`TaskContext::cancelled`](crate::TaskContext::cancelled).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled<'a> {
    wait: Wait<'a>,
    generation: u64,
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let slot = this.wait.slot;
        if slot.is_cancelled(this.generation) {
            return Poll::Ready(());
        }
        let mut control = slot.peek();
        // A stop is written with the slot locked.
        if slot.is_cancelled(this.generation) {
            return Poll::Ready(());
        }
        control
            .waiters
            .enter(For::Stop, &mut this.wait.key, cx.waker());
        Poll::Pending
    }
}
