use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use super::{super::TaskContext, Look, Slot, waiters::Key};

/// Who waits for a child to change.
impl Slot {
    /// Waits until `f` finds something; it is asked whenever the child may have changed, with the slot locked.
    pub(crate) async fn until_seen<T>(&self, mut f: impl FnMut(&Look<'_>) -> Option<T>) -> T {
        let mut wait = Wait::new(self);
        poll_fn(|cx| {
            let mut control = self.peek();
            match f(&Look::new(self, &control)) {
                Some(found) => Poll::Ready(found),
                None => {
                    control.waiters.enter(&mut wait.key, cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The same of what is not behind the slot's lock.
    pub(crate) async fn until<T>(&self, mut f: impl FnMut() -> Option<T>) -> T {
        let mut wait = Wait::new(self);
        poll_fn(|cx| {
            if let Some(found) = f() {
                return Poll::Ready(found);
            }
            self.peek().waiters.enter(&mut wait.key, cx.waker());
            // It may have changed before.
            f().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Something that is not behind the slot's lock has changed.
    pub(crate) fn tell_watchers(&self) {
        self.lock().tell_watchers();
    }

    /// A waker is somebody else's code: it is dropped with the slot unlocked.
    fn leave(&self, key: Option<Key>) {
        let _waker = key.and_then(|key| self.peek().waiters.leave(key));
    }
}

/// A wait that ends when it is dropped.
struct Wait<'a> {
    slot: &'a Slot,
    key: Option<Key>,
}

impl<'a> Wait<'a> {
    fn new(slot: &'a Slot) -> Self {
        Self { slot, key: None }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.slot.leave(self.key);
    }
}

/// See [`TaskContext::cancelled`].
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled<'a> {
    ctx: &'a TaskContext,
    key: Option<Key>,
}

impl<'a> Cancelled<'a> {
    pub(in crate::context) fn of(ctx: &'a TaskContext) -> Self {
        Self { ctx, key: None }
    }
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ctx = self.ctx;
        if ctx.is_cancelled() {
            return Poll::Ready(());
        }
        let mut control = ctx.slot().peek();
        // A stop is written with the slot locked.
        if ctx.is_cancelled() {
            return Poll::Ready(());
        }
        control.waiters.enter_for_stop(&mut self.key, cx.waker());
        Poll::Pending
    }
}

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        self.ctx.slot().leave(self.key);
    }
}

impl fmt::Debug for Cancelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled")
            .field("ctx", self.ctx)
            .finish_non_exhaustive()
    }
}
