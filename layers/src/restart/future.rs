use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::{
    BoxError, FailureKind, RestartAction, RestartType, TaskContext, TaskFailure,
    context::{Admission, Wait},
    policy::Nanos,
    task::{RunFailure, catch_panic},
};

pin_project! {
    /// One life of a child: all its runs. `F` is the service's future, a parameter of its own so that the
    /// stack can be held across an await in a spawned async block.
    pub struct RestartFuture<S, F> {
        service: Option<S>,
        restart: RestartType,
        ctx: TaskContext,
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
            let result = match std::mem::replace(this.state, State::Over) {
                // Only what the run left behind was still alive.
                State::Joining(joining) => joining.result,
                _ => Err(TaskFailure::new(FailureKind::Aborted, "the life was dropped while a run was alive").into()),
            };
            slot.end_run(generation, told(&result), RestartType::Temporary);
            slot.end_life(result.is_err(), None);
            discard(result);
        }
    }
}

type HelpersEnd = Pin<Box<dyn Future<Output = ()> + Send>>;

enum State {
    /// There is nothing to run: the service's clone panicked.
    Unmade { panic: Box<TaskFailure> },
    /// Asks whether the run its context stands for has just begun and is this life's first.
    Adopting,
    /// Waits until a run may begin.
    Gate { closed: Option<Box<Closed>> },
    /// Waits until the service is ready; `begun` when the run is the one adopted.
    Ready { begun: bool },
    /// A run lives; `polled` once it has been and goes on.
    Running { polled: bool },
    /// The run ended, and what it started is being ended.
    Joining(Box<Joining>),
    /// The life has ended.
    Over,
}

/// What a wait at the gate needs that is not over at once.
#[derive(Default)]
struct Closed {
    timer: Wait,
    /// What an earlier life left behind.
    leftovers: Option<HelpersEnd>,
}

struct Joining {
    helpers: HelpersEnd,
    result: RunResult,
}

/// How a run ended.
type RunResult = Result<(), RunFailure>;

/// What there is to tell of it.
fn told(result: &RunResult) -> Result<(), &TaskFailure> {
    result.as_ref().map(|&()| ()).map_err(RunFailure::failure)
}

const GATE: State = State::Gate { closed: None };

impl<S, F> RestartFuture<S, F> {
    pub(super) fn new(
        service: Result<S, TaskFailure>,
        ctx: TaskContext,
        restart: RestartType,
    ) -> Self {
        let (service, state) = match service {
            Ok(service) => (Some(service), State::Adopting),
            Err(panic) => (
                None,
                State::Unmade {
                    panic: Box::new(panic),
                },
            ),
        };
        Self {
            service,
            restart,
            ctx,
            state,
            run: None,
        }
    }
}

/// The life after an exit.
enum Next {
    /// `at` is when it was, `open` that the next run may begin.
    GoesOn { at: Option<Nanos>, open: bool },
    /// `at` is when it was, if nothing has been waited for since.
    Ends {
        result: RunResult,
        at: Option<Nanos>,
    },
}

impl<S> Future for RestartFuture<S, S::Future>
where
    S: Service<TaskContext, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<(), TaskFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // How a run ended of which nothing is alive any more.
        let mut exited = None;
        // When that was, while nothing is waited for: the next run begins then.
        let mut now = None;
        loop {
            if let Some(result) = exited.take() {
                match after(this.ctx, result, *this.restart) {
                    Next::Ends { result, at } => return end(this.state, this.ctx, result, at),
                    Next::GoesOn { at, open } => {
                        now = at;
                        *this.state = match open {
                            true => State::Ready { begun: false },
                            false => GATE,
                        };
                    }
                }
                // A child that fails at once must not hold its worker thread.
                ready!(pin!(tokio::task::coop::consume_budget()).poll(cx));
            }
            match this.state {
                State::Unmade { panic } => {
                    let panic =
                        std::mem::replace(&mut **panic, TaskFailure::new(FailureKind::Panic, ""));
                    return never(this.state, this.ctx, panic.into());
                }
                State::Adopting => {
                    *this.state = if this.ctx.slot().adopt(this.ctx.generation()) {
                        State::Ready { begun: true }
                    } else {
                        // The run was stopped before this life could take it up: it ends as it is.
                        let slot = this.ctx.slot();
                        slot.end_run(this.ctx.generation(), Ok(()), *this.restart);
                        // Or it is of an earlier life: this is another one.
                        slot.live_again();
                        let closed = slot.leftovers().map(|leftovers| {
                            Box::new(Closed {
                                timer: None,
                                leftovers: Some(join(leftovers)),
                            })
                        });
                        State::Gate { closed }
                    };
                }
                State::Gate { closed } => {
                    let mut first = Closed::default();
                    let wait = closed.as_deref_mut().unwrap_or(&mut first);
                    if wait.leftovers.is_some() {
                        this.ctx.slot().register(cx);
                    }
                    let Poll::Ready(answer) = this.ctx.slot().poll_gate(cx, &mut wait.timer) else {
                        if first.timer.is_some() {
                            *closed = Some(Box::new(first));
                        }
                        return Poll::Pending;
                    };
                    if answer.is_err() {
                        return end(this.state, this.ctx, Ok(()), now);
                    }
                    wait.timer = None;
                    if let Some(leftovers) = &mut wait.leftovers {
                        ready!(leftovers.as_mut().poll(cx));
                    }
                    *this.state = State::Ready { begun: false };
                }
                State::Ready { begun } => {
                    let Some(service) = this.service else {
                        unreachable!("only a life without one never gets here")
                    };
                    let (slot, generation) = (this.ctx.slot(), this.ctx.generation());
                    let stopped = *begun && slot.is_cancelled(generation);
                    let ready = match stopped {
                        false => asked(|| service.poll_ready(cx).map_err(Into::into)),
                        true => Poll::Pending,
                    };
                    let Poll::Ready(ready) = ready else {
                        // The wait is raced against the stop: the gate may close before the service is ready.
                        let closed = stopped
                            || match *begun {
                                true => slot.poll_stopped(cx, generation),
                                false => slot.poll_closed(cx),
                            };
                        if !closed {
                            return Poll::Pending;
                        }
                        if *begun {
                            slot.end_run(generation, Ok(()), *this.restart);
                        }
                        leave_queues(service);
                        *this.state = GATE;
                        continue;
                    };
                    let failure = ready.err();
                    if !*begun {
                        match this.ctx.slot().begin_run(now.unwrap_or_else(|| slot.now())) {
                            Some(generation) => *this.ctx = this.ctx.next(generation),
                            None => {
                                discard(failure.map_or(Ok(()), Err));
                                leave_queues(service);
                                *this.state = GATE;
                                continue;
                            }
                        }
                    }
                    if let Some(failure) = failure {
                        return never(this.state, this.ctx, failure);
                    }
                    let ctx = this.ctx.clone();
                    match catch_panic(|| service.call(ctx)) {
                        Ok(run) => {
                            this.run.set(Some(run));
                            *this.state = State::Running { polled: false };
                        }
                        Err(panic) => exited = settle(this.state, this.ctx, Err(panic.into())),
                    }
                }
                State::Running { polled } => {
                    let Poll::Ready(result) = poll_run(this.run.as_mut(), cx) else {
                        if !*polled {
                            *polled = true;
                            this.ctx.slot().pending(this.ctx.generation());
                        }
                        return Poll::Pending;
                    };
                    exited = settle(this.state, this.ctx, result);
                }
                State::Joining(joining) => {
                    ready!(joining.helpers.as_mut().poll(cx));
                    exited = Some(std::mem::replace(&mut joining.result, Ok(())));
                }
                State::Over => panic!("polled after completion"),
            }
        }
    }
}

/// A service that will not run again. Told as the end of a run, so that nobody misses it.
fn never(
    state: &mut State,
    ctx: &TaskContext,
    failure: RunFailure,
) -> Poll<Result<(), TaskFailure>> {
    let told = Err(failure.failure());
    ctx.slot()
        .end_run(ctx.generation(), told, RestartType::Temporary);
    end(state, ctx, Err(failure), None)
}

/// After the run's future is gone: ends what it started. Answers the result if that was nothing.
fn settle(state: &mut State, ctx: &TaskContext, result: RunResult) -> Option<RunResult> {
    let Some(helpers) = ctx.slot().end_helpers(ctx.generation()).map(join) else {
        return Some(result);
    };
    *state = State::Joining(Box::new(Joining { helpers, result }));
    None
}

fn join(helpers: TaskTracker) -> HelpersEnd {
    Box::pin(async move { helpers.wait().await })
}

/// A service that was asked may stand in a queue for a permit, or hold one. A child that is held must
/// not keep it from the others; a clone carries none.
fn leave_queues<S: Clone>(service: &mut S) {
    let _ = catch_panic(|| *service = service.clone());
}

/// Polls the run, and drops it when it is over: the layers inside note what they know then at the latest. All of
/// it is the user's code, and may panic.
fn poll_run<F, E>(mut run: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<RunResult>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    let mut answer = None;
    let polled = catch_panic(|| {
        let Some(live) = run.as_mut().as_pin_mut() else {
            unreachable!("a run lives in this state")
        };
        let Poll::Ready(result) = live.poll(cx) else {
            return Poll::Pending;
        };
        answer = Some(result.map_err(Into::into));
        run.set(None);
        Poll::Ready(())
    });
    let over = match polled {
        Ok(Poll::Pending) => return Poll::Pending,
        Ok(Poll::Ready(())) => Ok(()),
        Err(panic) => Err(panic.into()),
    };
    Poll::Ready(match answer {
        Some(Ok(())) => over,
        Some(Err(error)) => Err(RunFailure::of(error)),
        // It panicked while it was polled; what its destructor may say besides is of no interest.
        None => {
            let _ = catch_panic(|| run.set(None));
            over
        }
    })
}

/// What the user's code answers, the conversion of its error included: all of it may panic.
fn asked(f: impl FnOnce() -> Poll<Result<(), BoxError>>) -> Poll<RunResult> {
    match catch_panic(|| f().map_err(RunFailure::of)) {
        Ok(answer) => answer,
        Err(panic) => Poll::Ready(Err(panic.into())),
    }
}

/// An error's destructor is the user's too.
fn discard(result: RunResult) {
    if result.is_err() {
        let _ = catch_panic(|| drop(result));
    }
}

/// Turns the exit and the notes into the decision, and that into what becomes of the life.
fn after(ctx: &TaskContext, result: RunResult, restart: RestartType) -> Next {
    let slot = ctx.slot();
    let Some(exit) = slot.end_run(ctx.generation(), told(&result), restart) else {
        discard(result);
        return Next::GoesOn {
            at: None,
            open: false,
        };
    };
    let at = Some(exit.at);
    let ends = |result| Next::Ends { result, at };
    let next = match exit.gate {
        Admission::End(_) => ends(Ok(())),
        gate => Next::GoesOn {
            at,
            open: gate == Admission::Open,
        },
    };
    if matches!(
        exit.action,
        RestartAction::Quarantine { .. } | RestartAction::Fail | RestartAction::GiveUp
    ) && let Some((_, decision)) = ctx.as_gate().last_decision()
    {
        tracing::warn!(target: "rust_supervisor", path = ctx.path(), %decision, "down");
    }
    match exit.action {
        // A restart by hand may have come while the helpers ended.
        _ if !exit.ended => {
            discard(result);
            next
        }
        RestartAction::Finish => ends(Ok(())),
        RestartAction::Fail => ends(Err(result.err().unwrap_or_else(|| {
            TaskFailure::new(FailureKind::StartFailed, "completed before it had started").into()
        }))),
        RestartAction::GiveUp => ends(over(FailureKind::GaveUp, ctx, result)),
        RestartAction::Escalate => ends(over(FailureKind::IntensityExceeded, ctx, result)),
        RestartAction::Restart { .. }
        | RestartAction::RestartGroup { .. }
        | RestartAction::Quarantine { .. }
        | RestartAction::Stop { .. } => {
            discard(result);
            next
        }
    }
}

/// The end of a life that a limit ended, in the words of the decision.
fn over(kind: FailureKind, ctx: &TaskContext, result: RunResult) -> RunResult {
    let decision = ctx.as_gate().last_decision();
    let words = decision.map_or_else(String::new, |(_, decision)| decision.to_string());
    let failure = TaskFailure::new(kind, words);
    let failure = match result {
        Err(source) => failure.with_source(std::sync::Arc::new(source.share())),
        Ok(()) => failure,
    };
    Err(failure.into())
}

fn end(
    state: &mut State,
    ctx: &TaskContext,
    result: RunResult,
    at: Option<Nanos>,
) -> Poll<Result<(), TaskFailure>> {
    *state = State::Over;
    ctx.slot().end_life(result.is_err(), at);
    Poll::Ready(result.map_err(RunFailure::share))
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
