use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::WatchdogLayer;
use crate::{
    BoxError, FailureKind, StopCause, TaskContext, TaskFailure, context::after, inner::Inner,
    task::catch_panic,
};

pin_project! {
    /// A run of a [`WatchdogService`](super::WatchdogService).
    pub struct WatchdogFuture<F> {
        #[pin]
        run: Option<F>,
        ctx: TaskContext,
        limits: WatchdogLayer,
        watching: Watching,
    }
}

impl<F> WatchdogFuture<F> {
    pub(super) fn new(run: F, ctx: TaskContext, limits: WatchdogLayer) -> Self {
        Self {
            run: Some(run),
            ctx,
            limits,
            watching: Watching::default(),
        }
    }
}

impl<F, E> Future for WatchdogFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        this.watching.poll(this.ctx, this.limits, &mut this.run, cx)
    }
}

/// What the layer has to do with a run.
#[derive(Default)]
pub(crate) struct Watching {
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    /// The run was not polled yet.
    #[default]
    New,
    Watching {
        timer: Option<Pin<Box<Sleep>>>,
    },
    /// The run was told to end.
    Told {
        verdict: Box<TaskFailure>,
    },
}

impl Watching {
    #[inline]
    pub(crate) fn poll(
        &mut self,
        ctx: &TaskContext,
        limits: &WatchdogLayer,
        run: &mut impl Inner,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        loop {
            if let Poll::Ready(result) = run.poll(cx) {
                return Poll::Ready(self.over(ctx, result));
            }
            if let Stage::New = self.stage {
                // Nobody else may be there to see that the run goes on after its first poll.
                ctx.slot().pending(ctx.generation());
                self.stage = Stage::Watching { timer: None };
            }
            let Stage::Watching { timer } = &mut self.stage else {
                return Poll::Pending;
            };
            let verdict = ready!(poll_due(timer, ctx, limits, cx));
            ctx.slot()
                .unhealthy(ctx.generation(), verdict.message().clone());
            tracing::warn!(target: "rust_supervisor", path = ctx.path(), reason = %verdict, "unhealthy");
            if !ctx.slot().has_grace() {
                run.end()?;
                return Poll::Ready(Err(verdict.into()));
            }
            // The run has just been told: it may end at once.
            let verdict = Box::new(verdict);
            self.stage = Stage::Told { verdict };
        }
    }

    fn over(&mut self, ctx: &TaskContext, result: Result<(), BoxError>) -> Result<(), BoxError> {
        match std::mem::take(&mut self.stage) {
            // A stop by somebody else that came later outweighs the verdict.
            Stage::Told { verdict } if !ctx.stop_cause().is_some_and(StopCause::is_foreign) => {
                // An error's destructor is the user's, and may panic.
                let _ = catch_panic(|| drop(result));
                Err(verdict)
            }
            _ => result,
        }
    }
}

/// Waits until there is something to be said against the run.
fn poll_due(
    timer: &mut Option<Pin<Box<Sleep>>>,
    ctx: &TaskContext,
    limits: &WatchdogLayer,
    cx: &mut Context<'_>,
) -> Poll<TaskFailure> {
    loop {
        let Some((due, verdict)) = due(ctx, limits) else {
            return Poll::Pending;
        };
        if let Some(verdict) = verdict.filter(|_| due <= Instant::now()) {
            return Poll::Ready(verdict(limits));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        // Then everything is looked at anew: a heartbeat or an extension may have come meanwhile.
        ready!(timer.as_mut().poll(cx));
    }
}

/// What a timer can tell apart.
const TICK: Duration = Duration::from_millis(1);

type Verdict = fn(&WatchdogLayer) -> TaskFailure;

/// What is due next, and what it will then say of the run; without a verdict, only a look at it.
fn due(ctx: &TaskContext, limits: &WatchdogLayer) -> Option<(Instant, Option<Verdict>)> {
    if ctx.is_cancelled() {
        return None;
    }
    let Some(start) = ctx.slot().start_pending() else {
        let stale = after(ctx.slot().last_beat(), limits.stale_after?.into());
        return Some((stale, Some(no_heartbeat)));
    };
    let timeout = limits.start_timeout.map(|timeout| {
        let due = start.began.saturating_add(timeout);
        let due = start.extended.map_or(due, |extended| due.max(extended));
        (ctx.slot().at(due), Some(not_started as Verdict))
    });
    // Another task may say that the run is ready, which wakes nobody here: a look per stale time sees it
    // before it could be stale.
    let look = limits.stale_after.map(|stale_after| {
        (
            after(Instant::now(), Duration::from(stale_after).max(TICK)),
            None,
        )
    });
    timeout.into_iter().chain(look).min_by_key(|(at, _)| *at)
}

fn not_started(limits: &WatchdogLayer) -> TaskFailure {
    let limit = limits.start_timeout.map_or(Duration::ZERO, Duration::from);
    TaskFailure::new(
        FailureKind::Timeout,
        format!("not ready within its start timeout of {limit:?}"),
    )
}

fn no_heartbeat(limits: &WatchdogLayer) -> TaskFailure {
    let limit = limits.stale_after.map_or(Duration::ZERO, Duration::from);
    TaskFailure::new(
        FailureKind::Unhealthy,
        format!("no heartbeat for {limit:?}"),
    )
}
