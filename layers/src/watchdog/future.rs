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
    BoxError, FailureKind, TaskContext, TaskFailure, context::after, policy::Nanos,
    task::catch_panic,
};

pin_project! {
    /// A run of a [`WatchdogService`](super::WatchdogService).
    pub struct WatchdogFuture<F> {
        #[pin]
        run: Option<F>,
        ctx: TaskContext,
        limits: Limits,
        stage: Stage,
    }
}

enum Stage {
    /// The run was not polled yet.
    New,
    Watching {
        timer: Option<Pin<Box<Sleep>>>,
    },
    /// The run was told to end.
    Told {
        verdict: Box<TaskFailure>,
    },
}

/// What of a [`WatchdogLayer`] its runs obey.
struct Limits {
    stale_after: Option<Nanos>,
    start_timeout: Option<Nanos>,
}

impl<F> WatchdogFuture<F> {
    #[inline]
    pub(crate) fn new(run: F, ctx: TaskContext, limits: &WatchdogLayer) -> Self {
        Self {
            run: Some(run),
            ctx,
            limits: Limits {
                stale_after: limits.stale_after,
                start_timeout: limits.start_timeout,
            },
            stage: Stage::New,
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
        loop {
            let Some(run) = this.run.as_mut().as_pin_mut() else {
                panic!("polled after completion")
            };
            if let Poll::Ready(result) = run.poll(cx) {
                // A stop by somebody else that came later outweighs the verdict.
                let foreign = this
                    .ctx
                    .stop_cause()
                    .is_some_and(|cause| cause.is_foreign());
                let stage = std::mem::replace(this.stage, Stage::New);
                return Poll::Ready(match stage {
                    Stage::Told { verdict } if !foreign => {
                        // An error's destructor is the user's, and may panic.
                        let _ = catch_panic(|| drop(result));
                        Err(verdict)
                    }
                    _ => result.map_err(Into::into),
                });
            }
            if let Stage::New = this.stage {
                // Nobody else may be there to see that the run goes on after its first poll.
                this.ctx.slot().pending(this.ctx.generation());
                *this.stage = Stage::Watching { timer: None };
            }
            let Stage::Watching { timer } = this.stage else {
                return Poll::Pending;
            };
            let verdict = loop {
                let Some((due, verdict)) = due(this.ctx, this.limits) else {
                    return Poll::Pending;
                };
                if let Some(verdict) = verdict.filter(|_| due <= Instant::now()) {
                    break verdict;
                }
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                if timer.deadline() != due {
                    timer.as_mut().reset(due);
                }
                // Then everything is looked at anew: a heartbeat or an extension may have come meanwhile.
                ready!(timer.as_mut().poll(cx));
            };
            let verdict = verdict(this.limits);
            this.ctx
                .slot()
                .unhealthy(this.ctx.generation(), verdict.message().clone());
            tracing::warn!(target: "rust_supervisor", path = this.ctx.path(), reason = %verdict, "unhealthy");
            if !this.ctx.slot().has_grace() {
                catch_panic(|| this.run.set(None))?;
                return Poll::Ready(Err(verdict.into()));
            }
            // The run has just been told: it may end at once.
            let verdict = Box::new(verdict);
            *this.stage = Stage::Told { verdict };
        }
    }
}

/// What a timer can tell apart.
const TICK: Duration = Duration::from_millis(1);

type Verdict = fn(&Limits) -> TaskFailure;

/// What is due next, and what it will then say of the run; without a verdict, only a look at it.
fn due(ctx: &TaskContext, limits: &Limits) -> Option<(Instant, Option<Verdict>)> {
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

fn not_started(limits: &Limits) -> TaskFailure {
    let limit = limits.start_timeout.map_or(Duration::ZERO, Duration::from);
    TaskFailure::new(
        FailureKind::Timeout,
        format!("not ready within its start timeout of {limit:?}"),
    )
}

fn no_heartbeat(limits: &Limits) -> TaskFailure {
    let limit = limits.stale_after.map_or(Duration::ZERO, Duration::from);
    TaskFailure::new(
        FailureKind::Unhealthy,
        format!("no heartbeat for {limit:?}"),
    )
}
