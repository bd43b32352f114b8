use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::BackoffService;
use crate::policy::{Backoff, Jitter};

/// A wait before the next run; see the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct BackoffLayer {
    policy: Option<Backoff>,
}

impl BackoffLayer {
    /// As the policy says; without one the layer does nothing.
    pub fn new(policy: impl Into<Option<Backoff>>) -> Self {
        Self {
            policy: policy.into(),
        }
    }

    /// See [`Backoff::constant`].
    pub fn constant(delay: Duration) -> Self {
        Self::new(Backoff::constant(delay))
    }

    /// See [`Backoff::linear`].
    pub fn linear(initial: Duration, max: Duration) -> Self {
        Self::new(Backoff::linear(initial, max))
    }

    /// See [`Backoff::exponential`].
    pub fn exponential(initial: Duration, max: Duration) -> Self {
        Self::new(Backoff::exponential(initial, max))
    }

    /// See [`Backoff::decorrelated`].
    pub fn decorrelated(initial: Duration, max: Duration) -> Self {
        Self::new(Backoff::decorrelated(initial, max))
    }

    /// See [`Backoff::factor`].
    #[must_use]
    pub fn factor(self, factor: f64) -> Self {
        self.map(|policy| policy.factor(factor))
    }

    /// See [`Backoff::jitter`].
    #[must_use]
    pub fn jitter(self, jitter: Jitter) -> Self {
        self.map(|policy| policy.jitter(jitter))
    }

    /// See [`Backoff::immediate_first`].
    #[must_use]
    pub fn immediate_first(self) -> Self {
        self.map(Backoff::immediate_first)
    }

    /// See [`Backoff::reset_after`].
    #[must_use]
    pub fn reset_after(self, healthy: Duration) -> Self {
        self.map(|policy| policy.reset_after(healthy))
    }

    /// See [`Backoff::seed`].
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.map(|policy| policy.seed(seed))
    }

    fn map(self, f: impl FnOnce(Backoff) -> Backoff) -> Self {
        Self {
            policy: self.policy.map(f),
        }
    }
}

impl<S> Layer<S> for BackoffLayer {
    type Service = BackoffService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BackoffService::new(inner, self.policy.map(Arc::new))
    }
}
