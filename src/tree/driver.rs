use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use supervisor_layers::{
    FailureKind, RestartType, StopCause, TaskContext, TaskFailure,
    context::{LifeEnd, NextRun, StopRequest},
    task::catch_panic,
};

use tokio::task::JoinHandle;

use super::{
    Child,
    child::ChildKind,
    core::{GiveUp, Notice},
    supervise::SupervisorService,
};
use crate::spec::{AutoShutdown, Lives, OnFuseBlown, Supervised};

/// Starts the child's task.
pub(super) fn spawn(child: &Arc<Child>) {
    child.begin_task();
    let task = ChildTask {
        child: child.clone(),
        finished: None,
        pending: false,
    };
    child.started(match &child.kind {
        ChildKind::Worker(build) => build.clone().spawn(task),
        ChildKind::Supervisor(scope) => {
            let scope = scope.clone();
            let make = move || SupervisorService::new(scope.clone());
            task.spawn(Supervised { make })
        }
    });
}

/// One child's task, before it knows what it runs. However it ends, it is accounted for.
///
/// It has its child alone: tasks that end at once do not meet at a count of their supervisor.
pub(crate) struct ChildTask {
    child: Arc<Child>,
    /// Why it ends, once it has come to its end by itself.
    finished: Option<StopCause>,
    /// Its life was polled once and goes on.
    pending: bool,
}

impl ChildTask {
    pub(crate) fn spawn<L: Lives>(self, lives: L) -> JoinHandle<()> {
        tokio::spawn(drive(self, lives))
    }

    fn finish(&mut self, cause: StopCause) {
        self.finished = Some(cause);
    }
}

impl Drop for ChildTask {
    fn drop(&mut self) {
        let gate = self.child.gate();
        let cause = self.finished.or_else(|| {
            gate.abandon();
            gate.end_cause()
        });
        // A supervisor's end is told when what it left behind has ended too, and what is taken out is no
        // child any more, unless whoever takes it out says so.
        let tells = self.child.scope().is_none() && cause != Some(StopCause::Removal);
        let tree = self.child.tree();
        let closing = tree.is_closing();
        // Who finds it over finds it told.
        if tells && closing {
            tree.account_over(&self.child);
        }
        self.child.end_task();
        if tells && !closing {
            self.child.settled();
        }
    }
}

/// Begins a life whenever the gate lets one begin.
#[expect(
    clippy::manual_async_fn,
    reason = "the future is what a child weighs most, and an async function's has its arguments twice"
)]
fn drive<L: Lives>(mut task: ChildTask, mut lives: L) -> impl Future<Output = ()> + Send {
    async move {
        let cause = loop {
            let ctx = match task.child.gate().next_run().await {
                NextRun::End(cause) => {
                    task.child.gate().conclude();
                    break cause;
                }
                NextRun::Run(ctx) => ctx,
            };
            let (generation, result) = Living::new(&mut task, &mut lives, ctx).await;
            let end = task.child.gate().end_life(generation, &result).await;
            let forgotten = after_life(&task.child, end, &result);
            // An error's destructor is the user's, and may panic.
            let _ = catch_panic(move || drop(result));
            let gate = task.child.gate();
            if forgotten {
                // Who asks for another run just now is to learn that there is none.
                gate.end(StopCause::Removal, StopRequest::default());
                break StopCause::Removal;
            }
            if let Some(cause) = end.ending {
                break cause;
            }
            // A run that begins in this task now would not live. Another task begins it.
            if task.child.is_aborted() {
                gate.conclude();
                break StopCause::Restart;
            }
        };
        // A destructor of the service that panics is not to be the task's end.
        let _ = catch_panic(move || drop(lives));
        if cause == StopCause::Removal {
            task.child.forget();
        }
        task.finish(cause);
    }
}

pin_project! {
    /// One call of the service: one run of a bare stack, one life of a supervised one.
    struct Living<'a, L: Lives> {
        task: &'a mut ChildTask,
        lives: &'a mut L,
        generation: u64,
        #[pin]
        stage: Stage<L::Life>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        /// Waits until the service is ready, or the run is to stop.
        Asking { ctx: TaskContext },
        Living {
            #[pin]
            life: F,
        },
        Over,
    }
}

impl<'a, L: Lives> Living<'a, L> {
    fn new(task: &'a mut ChildTask, lives: &'a mut L, ctx: TaskContext) -> Self {
        task.pending = false;
        Self {
            task,
            lives,
            generation: ctx.generation(),
            stage: Stage::Asking { ctx },
        }
    }
}

impl<L: Lives> Future for Living<'_, L> {
    /// Which run it began with, and how it ended.
    type Output = (u64, Result<(), TaskFailure>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (gate, generation) = (this.task.child.gate(), *this.generation);
        let over = |result| Poll::Ready((generation, result));
        loop {
            let result = match this.stage.as_mut().project() {
                StageProjection::Asking { ctx } => {
                    if gate.poll_stopped(cx, generation) {
                        return over(Ok(()));
                    }
                    match catch_panic(|| this.lives.poll_ready(cx)) {
                        Ok(Poll::Pending) => {
                            gate.life_pending();
                            return Poll::Pending;
                        }
                        Ok(Poll::Ready(Ok(()))) => {}
                        Ok(Poll::Ready(Err(failure))) | Err(failure) => return over(Err(failure)),
                    }
                    let Some(layer) = gate.layer() else {
                        unreachable!("every child of a tree has one")
                    };
                    let ctx = ctx.clone();
                    match catch_panic(|| this.lives.call(ctx, layer)) {
                        Ok(life) => this.stage.set(Stage::Living { life }),
                        Err(panic) => return over(Err(panic)),
                    }
                    continue;
                }
                StageProjection::Living { life } => match catch_panic(|| life.poll(cx)) {
                    Ok(Poll::Pending) => {
                        if !std::mem::replace(&mut this.task.pending, true) {
                            gate.pending(generation);
                        }
                        return Poll::Pending;
                    }
                    Ok(Poll::Ready(result)) => result,
                    Err(panic) => Err(panic),
                },
                StageProjection::Over => panic!("polled after completion"),
            };
            let dropped = catch_panic(|| this.stage.set(Stage::Over));
            return over(result.and(dropped));
        }
    }
}

/// What the end of a life means to the supervisor. `true`: the child is to be forgotten.
fn after_life(child: &Child, end: LifeEnd, result: &Result<(), TaskFailure>) -> bool {
    let (gate, core) = (child.gate(), child.core());
    let by_itself = !core.tree.is_closing() && end.ending.is_none() && end.ended;
    if !by_itself {
        return false;
    }
    // Whoever asked for a first start is told that it failed; that is no end of the child's own.
    let never_started = result.is_err() && gate.failed_first_start();
    if let Err(failure) = result
        && !never_started
    {
        let escalates = match failure.kind() {
            FailureKind::GaveUp => child.on_fuse_blown() == OnFuseBlown::Escalate,
            // The decision has told the supervisor already.
            FailureKind::IntensityExceeded if child.scope().is_none() => false,
            // As in OTP: any end of a temporary child is one that auto shutdown looks at.
            _ if child.restart_type() == RestartType::Temporary
                && core.auto_shutdown != AutoShutdown::Never
                && !failure.is_fatal() =>
            {
                false
            }
            _ => child.significant,
        };
        if escalates {
            let reason = format!("{}: {failure}", child.path()).into();
            let correlation = gate.correlation();
            core.notify(Notice::Escalate(GiveUp {
                reason,
                correlation,
            }));
        }
    }
    if child.significant && !never_started {
        core.notify(Notice::SignificantEnded);
    }
    child.restart_type() == RestartType::Temporary
}
