use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    BoxError, FailureKind, RestartAction, RestartType, TaskContext, TaskFailure, context::Wait,
    task::catch_panic,
};

pin_project! {
    /// One life of a child: all its runs. `F` is the service's future, a parameter of its own so that the
    /// stack can be held across an await in a spawned async block.
    pub struct RestartFuture<S, F> {
        service: S,
        restart: RestartType,
        ctx: TaskContext,
        timer: Wait,
        state: State,
        #[pin]
        run: Option<F>,
    }

    impl<S, F> PinnedDrop for RestartFuture<S, F> {
        /// A life that is dropped ends its run on the spot; the helpers are aborted, not awaited.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if matches!(this.state, State::Over) {
                return;
            }
            let _ = catch_panic(|| this.run.set(None));
            let slot = this.ctx.slot();
            let generation = this.ctx.generation();
            slot.end_helpers(generation);
            let dropped = TaskFailure::new(FailureKind::Aborted, "the life was dropped while a run was alive");
            slot.end_run(generation, Err(&dropped), RestartType::Temporary);
            slot.end_life(true);
        }
    }
}

type HelpersEnd = Pin<Box<dyn Future<Output = ()> + Send>>;

enum State {
    /// Asks whether the run its context stands for has just begun and is this life's first.
    Adopting,
    /// Waits until a run may begin.
    Gate,
    /// Waits until the service is ready; `begun` when the run is the one adopted.
    Ready { begun: bool },
    /// A run lives; `polled` once it has been and goes on.
    Running { polled: bool },
    /// The run ended, and what it started is being ended.
    Joining {
        helpers: Option<HelpersEnd>,
        result: Result<(), TaskFailure>,
    },
    /// The life has ended.
    Over,
}

impl<S, F> RestartFuture<S, F> {
    pub(super) fn new(service: S, ctx: TaskContext, restart: RestartType) -> Self {
        Self {
            service,
            restart,
            ctx,
            timer: None,
            state: State::Adopting,
            run: None,
        }
    }
}

/// The life after an exit.
enum Next {
    GoesOn,
    Ends(Result<(), TaskFailure>),
}

impl<S> Future for RestartFuture<S, S::Future>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Output = Result<(), TaskFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state {
                State::Adopting => {
                    *this.state = if this.ctx.slot().adopt(this.ctx.generation()) {
                        State::Ready { begun: true }
                    } else {
                        // The run was stopped before this life could take it up: it ends as it is.
                        this.ctx
                            .slot()
                            .end_run(this.ctx.generation(), Ok(()), *this.restart);
                        State::Gate
                    };
                }
                State::Gate => {
                    let answer = ready!(this.ctx.slot().poll_gate(cx, this.timer));
                    *this.timer = None;
                    if answer.is_err() {
                        return end(this.state, this.ctx, Ok(()));
                    }
                    *this.state = State::Ready { begun: false };
                }
                State::Ready { begun } => {
                    // Every wait is raced against the stop: the gate may close while the service is not ready.
                    let closed = match *begun {
                        true => this.ctx.is_cancelled(),
                        false => this.ctx.slot().poll_closed(cx),
                    };
                    if closed {
                        if *begun {
                            this.ctx
                                .slot()
                                .end_run(this.ctx.generation(), Ok(()), *this.restart);
                        }
                        *this.state = State::Gate;
                        continue;
                    }
                    let polled = catch_panic(|| this.service.poll_ready(cx));
                    let failure = match polled {
                        Ok(Poll::Ready(Ok(()))) => None,
                        Ok(Poll::Ready(Err(error))) => Some(TaskFailure::of(error.into())),
                        Ok(Poll::Pending) => {
                            if *begun {
                                this.ctx.slot().register(cx);
                            }
                            return Poll::Pending;
                        }
                        Err(panic) => Some(panic),
                    };
                    if let Some(failure) = failure {
                        // Final: this service will not run again.
                        this.ctx.slot().end_run(
                            this.ctx.generation(),
                            Err(&failure),
                            RestartType::Temporary,
                        );
                        return end(this.state, this.ctx, Err(failure));
                    }
                    if !*begun {
                        match this.ctx.slot().begin_run() {
                            Some(generation) => *this.ctx = this.ctx.next(generation),
                            None => {
                                *this.state = State::Gate;
                                continue;
                            }
                        }
                    }
                    let ctx = this.ctx.clone();
                    match catch_panic(|| this.service.call(ctx)) {
                        Ok(run) => {
                            this.run.set(Some(run));
                            *this.state = State::Running { polled: false };
                        }
                        Err(panic) => *this.state = settle(this.ctx, Err(panic)),
                    }
                }
                State::Running { polled } => {
                    let Some(run) = this.run.as_mut().as_pin_mut() else {
                        unreachable!("a run lives in this state")
                    };
                    let result = match catch_panic(|| run.poll(cx)) {
                        Ok(Poll::Pending) => {
                            if !*polled {
                                *polled = true;
                                this.ctx.slot().pending(this.ctx.generation());
                            }
                            return Poll::Pending;
                        }
                        Ok(Poll::Ready(Ok(()))) => Ok(()),
                        Ok(Poll::Ready(Err(error))) => Err(TaskFailure::of(error.into())),
                        Err(panic) => Err(panic),
                    };
                    // The layers inside note what they know when they are dropped at the latest.
                    let dropped = catch_panic(|| this.run.set(None));
                    *this.state = settle(this.ctx, result.and(dropped));
                }
                State::Joining { helpers, result } => {
                    if let Some(helpers) = helpers {
                        ready!(helpers.as_mut().poll(cx));
                    }
                    let result = std::mem::replace(result, Ok(()));
                    match after(this.ctx, result, *this.restart) {
                        Next::Ends(result) => return end(this.state, this.ctx, result),
                        Next::GoesOn => *this.state = State::Gate,
                    }
                    // A child that fails at once must not hold its worker thread.
                    ready!(pin!(tokio::task::coop::consume_budget()).poll(cx));
                }
                State::Over => panic!("polled after completion"),
            }
        }
    }
}

/// After the run's future is gone: ends what it started.
fn settle(ctx: &TaskContext, result: Result<(), TaskFailure>) -> State {
    let helpers = ctx.slot().end_helpers(ctx.generation());
    let helpers =
        helpers.map(|helpers| Box::pin(async move { helpers.wait().await }) as HelpersEnd);
    State::Joining { helpers, result }
}

/// Turns the exit and the notes into the decision.
fn after(ctx: &TaskContext, result: Result<(), TaskFailure>, restart: RestartType) -> Next {
    let Some(decision) =
        ctx.slot()
            .end_run(ctx.generation(), result.as_ref().map(|&()| ()), restart)
    else {
        return Next::GoesOn;
    };
    match decision.action {
        RestartAction::Finish => Next::Ends(Ok(())),
        RestartAction::Fail => Next::Ends(Err(result.err().unwrap_or_else(|| {
            TaskFailure::new(FailureKind::StartFailed, "completed before it had started")
        }))),
        RestartAction::GiveUp => Next::Ends(Err(over(FailureKind::GaveUp, &decision, result))),
        RestartAction::Escalate => {
            Next::Ends(Err(over(FailureKind::IntensityExceeded, &decision, result)))
        }
        RestartAction::Restart { .. }
        | RestartAction::RestartGroup { .. }
        | RestartAction::Quarantine { .. }
        | RestartAction::Stop { .. } => Next::GoesOn,
    }
}

fn over(
    kind: FailureKind,
    decision: &crate::RestartDecision,
    result: Result<(), TaskFailure>,
) -> TaskFailure {
    let failure = TaskFailure::new(kind, decision.to_string());
    match result {
        Err(source) => failure.with_source(std::sync::Arc::new(source)),
        Ok(()) => failure,
    }
}

fn end(
    state: &mut State,
    ctx: &TaskContext,
    result: Result<(), TaskFailure>,
) -> Poll<Result<(), TaskFailure>> {
    *state = State::Over;
    ctx.slot().end_life(result.is_err());
    Poll::Ready(result)
}

impl<S: fmt::Debug, F> fmt::Debug for RestartFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestartFuture")
            .field("service", &self.service)
            .field("restart", &self.restart)
            .field("ctx", &self.ctx)
            .finish_non_exhaustive()
    }
}
