use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::sync::lock;

/// What goes on beside something that is polled often: polled itself only when it has something to do.
pub(super) struct Quiet<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Rings when the future is to be polled, and wakes the task that it is part of.
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> Quiet<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(true),
            task: Mutex::default(),
        });
        Self {
            future,
            waker: bell.clone().into(),
            bell,
        }
    }
}

impl<F: Future + Unpin> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        {
            // Before looking at the bell, so that it does not ring unheard in between.
            let mut task = lock(&this.bell.task);
            match &mut *task {
                Some(task) => task.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if !this.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, poll_fn},
        pin::pin,
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn is_polled_when_it_was_woken_and_at_no_other_time() {
        let (notify, polls) = (Arc::new(Notify::new()), Cell::new(0));
        let mut news = pin!(async {
            notify.notified().await;
            notify.notified().await;
        });
        let mut quiet = Quiet::new(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            news.as_mut().poll(cx)
        }));
        let poll = |quiet: &mut Quiet<_>| {
            let mut context = Context::from_waker(Waker::noop());
            Pin::new(quiet).poll(&mut context).is_ready()
        };
        assert!(!poll(&mut quiet) && !poll(&mut quiet));
        assert_eq!(polls.get(), 1);
        notify.notify_one();
        assert!(!poll(&mut quiet) && !poll(&mut quiet));
        assert_eq!(polls.get(), 2);
        notify.notify_one();
        assert!(poll(&mut quiet));
    }

    #[tokio::test]
    async fn its_task_is_woken_with_it() {
        let notify = Arc::new(Notify::new());
        let news = {
            let notify = notify.clone();
            Box::pin(async move { notify.notified().await })
        };
        let mut quiet = Quiet::new(news);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = &mut quiet => {}
                () = pending() => {}
            }
        });
        tokio::task::yield_now().await;
        notify.notify_one();
        task.await.unwrap();
    }
}
