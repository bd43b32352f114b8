use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, Waker, ready},
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
    /// How often there was reason to [look again](Self::look_again): to be asked before it is decided how long to
    /// wait.
    pub(super) fn changes(&self) -> u64 {
        lock(&self.waits).changes
    }

    /// Resolves at `due`, or as soon as there is reason to look again that was not `seen`; without a time, only
    /// then.
    pub(super) fn at(&self, due: Option<Instant>, seen: u64) -> Deadline<'_> {
        Deadline {
            deadlines: self,
            until: due.map_or(Until::Never, Until::Due),
            wait: Wait::New { seen },
        }
    }

    /// What `done` answers, unless it is `due` before that.
    pub(super) async fn within<T>(&self, due: Instant, done: impl Future<Output = T>) -> Option<T> {
        let mut done = std::pin::pin!(done);
        loop {
            let seen = self.changes();
            tokio::select! {
                biased;
                answer = &mut done => return Some(answer),
                () = self.at(Some(due), seen) => {
                    if due <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }

    /// Ends all waits: how long they are to be has changed.
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

/// A wait of [`Deadlines::at`].
#[derive(Debug)]
pub(super) struct Deadline<'a> {
    deadlines: &'a Deadlines,
    until: Until,
    wait: Wait,
}

#[derive(Debug)]
enum Wait {
    New {
        seen: u64,
    },
    /// Under this number.
    Waits(u64),
    /// Nobody keeps the timer.
    Alone(Pin<Box<Sleep>>),
    Over,
}

impl Future for Deadline<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match &mut this.wait {
            &mut Wait::New { seen } => ready!(this.begin(cx, seen)),
            Wait::Waits(number) => {
                let mut waits = lock(&this.deadlines.waits);
                if let Some(waker) = waits.waiting.get_mut(&(this.until, *number)) {
                    waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
            }
            Wait::Alone(sleep) => ready!(sleep.as_mut().poll(cx)),
            Wait::Over => {}
        }
        this.wait = Wait::Over;
        Poll::Ready(())
    }
}

impl Deadline<'_> {
    fn begin(&mut self, cx: &mut Context<'_>, seen: u64) -> Poll<()> {
        let mut waits = lock(&self.deadlines.waits);
        if waits.changes != seen {
            return Poll::Ready(());
        }
        if waits.closed {
            drop(waits);
            let Until::Due(time) = self.until else {
                return Poll::Pending;
            };
            let mut sleep = Box::pin(tokio::time::sleep_until(time));
            let over = sleep.as_mut().poll(cx);
            self.wait = Wait::Alone(sleep);
            return over;
        }
        waits.number += 1;
        let number = waits.number;
        waits
            .waiting
            .insert((self.until, number), cx.waker().clone());
        self.wait = Wait::Waits(number);
        if let Until::Due(time) = self.until
            && waits.set.is_none_or(|set| time < set)
        {
            waits.set = Some(time);
            drop(waits);
            self.deadlines.sooner.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Wait::Waits(number) = self.wait {
            lock(&self.deadlines.waits)
                .waiting
                .remove(&(self.until, number));
        }
    }
}
