use std::{
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::QuarantineFuture;
use crate::{
    BoxError, TaskContext,
    ended::{AtEnd, EndGuard, Ended},
};

/// A child that is held when its fuse blows; made by [`QuarantineLayer`](super::QuarantineLayer).
#[derive(Debug, Clone)]
pub struct QuarantineService<S> {
    inner: S,
    release_after: Option<Option<Duration>>,
}

impl<S> QuarantineService<S> {
    pub(super) fn new(inner: S, release_after: Option<Option<Duration>>) -> Self {
        Self {
            inner,
            release_after,
        }
    }
}

impl<S> Service<TaskContext> for QuarantineService<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = S::Error;
    type Future = QuarantineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        if self.release_after.is_some() {
            ctx.publish(|settings| settings.quarantine = self.release_after);
        }
        let guard = EndGuard::new(
            ctx.clone(),
            Note {
                release_after: self.release_after,
            },
        );
        QuarantineFuture::new(self.inner.call(ctx), guard)
    }
}

pub(super) struct Note {
    release_after: Option<Option<Duration>>,
}

impl AtEnd for Note {
    fn at_end(&self, ctx: &TaskContext, _: Ended) {
        // The fuse is inside: by now it has noted what it reads.
        if let Some(release_after) = self.release_after {
            ctx.slot().note_quarantine(release_after);
        }
    }
}
