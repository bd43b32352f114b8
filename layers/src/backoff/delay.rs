use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::{context::Slot, policy::Backoff};

/// The wait before a child's next run.
#[derive(Default)]
pub(crate) struct Delay {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What is remembered of a child.
#[derive(Default)]
pub(super) struct Delays {
    pub(super) failures: u32,
    pub(super) previous: Duration,
    pub(super) until: Option<Instant>,
}

impl Delay {
    /// Of a child that is known, as it has run: its memory knows until when to wait.
    pub(crate) fn poll(
        &mut self,
        child: Option<&Slot>,
        policy: Option<&Arc<Backoff>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let (Some(policy), Some(child)) = (policy, child) else {
            return Poll::Ready(());
        };
        let key = key(policy);
        let Some(until) = child
            .recall(key, |delays: &mut Delays| delays.until)
            .flatten()
        else {
            return Poll::Ready(());
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        ready!(sleep.as_mut().poll(cx));
        child.recall(key, |delays: &mut Delays| delays.until = None);
        Poll::Ready(())
    }
}

/// Tells the policies of one stack apart.
pub(super) fn key(policy: &Arc<Backoff>) -> usize {
    Arc::as_ptr(policy).addr()
}
