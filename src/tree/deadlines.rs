use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use tokio::{
    sync::Notify,
    time::{Instant, Sleep},
};

use super::shared::sleep_until_some;
use crate::sync::lock;

/// Until when what nearly always comes in time is waited for.
///
/// A timer of the runtime's costs its thread a wake-up when it is the next to run out. Here the tree has one,
/// set for the first of these waits: it is not set anew while it runs, and runs out to find that nobody waits
/// so long any more.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    waits: Mutex<Waits>,
    /// The timer is to be set for somebody who waits less long.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Waits {
    waiting: BTreeMap<(Until, u64), Waker>,
    number: u64,
    changes: u64,
    /// What the timer is set for, or is about to be.
    set: Option<Instant>,
    /// Nobody keeps the timer any more.
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Due(Instant),
    Never,
}

impl Deadlines {
    /// For waits one after the other.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience {
            deadlines: self,
            entry: None,
        }
    }

    /// What `done` answers, unless it is `due` before that.
    pub(super) async fn within<T>(&self, due: Instant, done: impl Future<Output = T>) -> Option<T> {
        self.patience().until(|| Some(due), done).await
    }

    fn changes(&self) -> u64 {
        lock(&self.waits).changes
    }

    /// Has all look again how long they are to wait: that has changed.
    pub(super) fn look_again(&self) {
        let waiting = {
            let mut waits = lock(&self.waits);
            waits.changes += 1;
            std::mem::take(&mut waits.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// Keeps the timer as long as it is polled; afterwards everybody has one of their own.
    pub(super) async fn keep(&self) {
        let _kept = Kept(self);
        loop {
            let (due, next) = lock(&self.waits).due(Instant::now());
            due.into_iter().for_each(Waker::wake);
            tokio::select! {
                () = self.sooner.notified() => {}
                () = sleep_until_some(next) => {}
            }
        }
    }
}

impl Waits {
    /// Takes out who has waited long enough, and sets the timer for the next.
    fn due(&mut self, now: Instant) -> (Vec<Waker>, Option<Instant>) {
        let mut due = Vec::new();
        self.set = None;
        while let Some(first) = self.waiting.first_entry() {
            match first.key().0 {
                Until::Due(time) if time <= now => due.push(first.remove()),
                Until::Due(time) => {
                    self.set = Some(time);
                    break;
                }
                Until::Never => break,
            }
        }
        (due, self.set)
    }
}

struct Kept<'a>(&'a Deadlines);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        lock(&self.0.waits).closed = true;
        self.0.look_again();
    }
}

/// Waits of one task, one after the other: what the first of them may last at most is when the others are looked
/// at, as long as they may last longer.
pub(super) struct Patience<'a> {
    deadlines: &'a Deadlines,
    entry: Option<Entry>,
}

enum Entry {
    Waits(Until, u64),
    /// Nobody keeps the timer.
    Alone(Pin<Box<Sleep>>),
}

impl Patience<'_> {
    /// What `done` answers, unless it is too late before that: when that is, `limit` says, and says again when it
    /// comes to that, or there is reason to look again. Without a time it never is.
    pub(super) async fn until<T>(
        &mut self,
        mut limit: impl FnMut() -> Option<Instant>,
        done: impl Future<Output = T>,
    ) -> Option<T> {
        let mut done = std::pin::pin!(done);
        let mut first = true;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = done.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            loop {
                let looked = !std::mem::take(&mut first);
                if looked && self.goes_on(cx) {
                    return Poll::Pending;
                }
                // Before looking, so that no reason to look again goes unseen.
                let seen = self.deadlines.changes();
                let due = limit();
                if looked && due.is_some_and(|due| due <= Instant::now()) {
                    return Poll::Ready(None);
                }
                if self.enter(due, seen, cx) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Whether the entry has not been told of.
    fn goes_on(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.entry {
            None => false,
            Some(Entry::Waits(until, number)) => {
                let mut waits = lock(&self.deadlines.waits);
                let waker = waits.waiting.get_mut(&(*until, *number));
                waker.map(|waker| waker.clone_from(cx.waker())).is_some()
            }
            Some(Entry::Alone(sleep)) => sleep.as_mut().poll(cx).is_pending(),
        }
    }

    /// Waits until `due`, or less; `false`: there is reason to look again.
    fn enter(&mut self, due: Option<Instant>, seen: u64, cx: &mut Context<'_>) -> bool {
        let until = due.map_or(Until::Never, Until::Due);
        if let Some(Entry::Waits(own, _)) = self.entry
            && own <= until
            && self.goes_on(cx)
        {
            return true;
        }
        self.leave();
        let mut waits = lock(&self.deadlines.waits);
        if waits.changes != seen {
            return false;
        }
        if waits.closed {
            drop(waits);
            let Until::Due(time) = until else { return true };
            let mut sleep = Box::pin(tokio::time::sleep_until(time));
            let waits = sleep.as_mut().poll(cx).is_pending();
            self.entry = Some(Entry::Alone(sleep));
            return waits;
        }
        waits.number += 1;
        let number = waits.number;
        waits.waiting.insert((until, number), cx.waker().clone());
        self.entry = Some(Entry::Waits(until, number));
        if let Until::Due(time) = until
            && waits.set.is_none_or(|set| time < set)
        {
            waits.set = Some(time);
            drop(waits);
            self.deadlines.sooner.notify_one();
        }
        true
    }

    fn leave(&mut self) {
        if let Some(Entry::Waits(until, number)) = self.entry.take() {
            lock(&self.deadlines.waits).waiting.remove(&(until, number));
        }
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
