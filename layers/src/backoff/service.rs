use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
};

use tokio::time::Instant;
use tower_service::Service;

use super::delay::{Delay, Delays, key};
use crate::{
    BoxError, StopCause, TaskContext,
    context::Slot,
    ended::{AtEnd, EndGuard, Ended, NotedFuture},
    policy::{Backoff, unit_random},
};

/// A child that waits before its next run; made by [`BackoffLayer`](super::BackoffLayer).
pub struct BackoffService<S> {
    inner: S,
    policy: Option<Arc<Backoff>>,
    /// Once it has run.
    child: Option<Arc<Slot>>,
    delay: Delay,
}

impl<S> BackoffService<S> {
    pub(super) fn new(inner: S, policy: Option<Arc<Backoff>>) -> Self {
        Self {
            inner,
            policy,
            child: None,
            delay: Delay::default(),
        }
    }
}

/// A run of a [`BackoffService`].
pub type BackoffFuture<F> = NotedFuture<F, Note>;

impl<S> Service<TaskContext> for BackoffService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = S::Error;
    type Future = BackoffFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(
            self.delay
                .poll(self.child.as_deref(), self.policy.as_ref(), cx)
        );
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if let Some(policy) = &self.policy
            && self.child.is_none()
        {
            ctx.publish(|settings| settings.backoff = Some(**policy));
            self.child = Some(ctx.slot().clone());
        }
        let guard = EndGuard::new(
            self.policy.as_ref().map(|_| ctx.clone()),
            Note::new(self.policy.clone()),
        );
        NotedFuture::new(self.inner.call(ctx), guard)
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

/// What becomes of the delay.
#[derive(Debug)]
pub struct Note {
    policy: Option<Arc<Backoff>>,
}

impl Note {
    pub(crate) fn new(policy: Option<Arc<Backoff>>) -> Self {
        Self { policy }
    }

    pub(crate) fn policy(&self) -> Option<&Arc<Backoff>> {
        self.policy.as_ref()
    }
}

impl AtEnd for Note {
    fn at_end(&self, ctx: &TaskContext, ended: Ended) {
        let Some(policy) = &self.policy else { return };
        let completed = ended == Ended::Completed;
        let counts = ctx.counts(completed);
        let foreign = ctx.stop_cause().is_some_and(StopCause::is_foreign);
        let waited = ctx.recall(key(policy), |delays: &mut Delays| delays.failures > 0);
        // A run that somebody else stopped says nothing of itself but that it was healthy so long.
        let healthy = || ctx.slot().ran_for() >= policy.healthy_time();
        if waited == Some(true) && ((completed && !foreign && !counts) || healthy()) {
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
