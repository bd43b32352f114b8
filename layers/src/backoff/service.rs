use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::BackoffFuture;
use crate::{
    BoxError, StopCause, TaskContext,
    ended::{AtEnd, EndGuard, Ended},
    policy::{Backoff, unit_random},
};

/// A child that waits before its next run; made by [`BackoffLayer`](super::BackoffLayer).
pub struct BackoffService<S> {
    inner: S,
    policy: Option<Arc<Backoff>>,
    /// The run before, whose child's memory knows until when to wait.
    last: Option<TaskContext>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What is remembered of a child.
#[derive(Default)]
struct Delays {
    failures: u32,
    previous: Duration,
    until: Option<Instant>,
}

impl<S> BackoffService<S> {
    pub(crate) fn new(inner: S, policy: Option<Arc<Backoff>>) -> Self {
        Self {
            inner,
            policy,
            last: None,
            sleep: None,
        }
    }

    fn poll_delay(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(policy), Some(last)) = (&self.policy, &self.last) else {
            return Poll::Ready(());
        };
        let key = key(policy);
        let Some(until) = last
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
        last.recall(key, |delays: &mut Delays| delays.until = None);
        Poll::Ready(())
    }
}

fn key(policy: &Arc<Backoff>) -> usize {
    Arc::as_ptr(policy).addr()
}

impl<S> Service<TaskContext> for BackoffService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = S::Error;
    type Future = BackoffFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.poll_delay(cx));
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if let Some(policy) = &self.policy {
            if self.last.is_none() {
                ctx.publish(|settings| settings.backoff = Some(**policy));
            }
            self.last = Some(ctx.clone());
        }
        let guard = EndGuard::new(
            self.policy.as_ref().map(|_| ctx.clone()),
            Note {
                policy: self.policy.clone(),
            },
        );
        BackoffFuture::new(self.inner.call(ctx), guard)
    }
}

/// A clone is a fresh start: it waits for nothing.
impl<S: Clone> Clone for BackoffService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.policy.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for BackoffService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackoffService")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

pub(super) struct Note {
    policy: Option<Arc<Backoff>>,
}

impl AtEnd for Note {
    fn at_end(&self, ctx: &TaskContext, ended: Ended) {
        let Some(policy) = &self.policy else { return };
        let completed = ended == Ended::Completed;
        let counts = ctx.counts(completed);
        let foreign = ctx.stop_cause().is_some_and(StopCause::is_foreign);
        // A run that somebody else stopped says nothing of itself but that it was healthy so long.
        let healthy = ctx.slot().ran_for() >= policy.healthy_time();
        if healthy || (completed && !foreign && !counts) {
            ctx.recall(key(policy), |delays: &mut Delays| {
                *delays = Delays::default();
            });
        }
        if !counts {
            return;
        }
        let unit = unit_random(seed(policy, ctx), ctx.generation());
        let now = Instant::now();
        let delay = ctx.memory(key(policy), |delays: &mut Delays| {
            delays.failures = delays.failures.saturating_add(1);
            let delay = policy.delay(delays.failures, delays.previous, unit);
            delays.previous = delay.after_jitter;
            delays.until = (!delay.after_jitter.is_zero()).then(|| now + delay.after_jitter);
            delay
        });
        ctx.slot().note_backoff(delay);
    }
}

/// Differs between children; between processes too, unless the policy or the owner has a seed.
fn seed(policy: &Backoff, ctx: &TaskContext) -> u64 {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    let path = ctx
        .path()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3) // FNV-1a
        });
    let of_owner = || ctx.owner().and_then(|owner| owner.jitter_seed());
    match policy.given_seed().or_else(of_owner) {
        Some(seed) => seed ^ path,
        None => *PROCESS ^ path ^ ctx.instance(),
    }
}
