use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::StartRateLayer;
use crate::{BoxError, TaskContext};

/// A child whose starts are limited together with others'; made by [`StartRateLayer`].
pub struct StartRateService<S> {
    inner: S,
    shared: StartRateLayer,
    reserved: Option<Reservation>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<S> StartRateService<S> {
    pub(super) fn new(inner: S, shared: StartRateLayer) -> Self {
        Self {
            inner,
            shared,
            reserved: None,
            sleep: None,
        }
    }
}

impl<S> Service<TaskContext> for StartRateService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let at = self
            .reserved
            .get_or_insert_with(|| Reservation::of(&self.shared))
            .at;
        if at > Instant::now() {
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            ready!(sleep.as_mut().poll(cx));
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if let Some(reserved) = self.reserved.take() {
            reserved.used();
        }
        self.inner.call(ctx)
    }
}

/// The time of a start to come. One that comes to nothing, as its child is held or ended first, is given
/// back.
struct Reservation {
    at: Instant,
    of: StartRateLayer,
    open: bool,
}

impl Reservation {
    fn of(layer: &StartRateLayer) -> Self {
        Self {
            at: layer.reserve(),
            of: layer.clone(),
            open: true,
        }
    }

    fn used(mut self) {
        self.open = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            self.of.give_back(self.at);
        }
    }
}

/// A clone shares the limit and has reserved nothing.
impl<S: Clone> Clone for StartRateService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.shared.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for StartRateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRateService")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
