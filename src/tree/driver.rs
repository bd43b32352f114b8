use std::{future::poll_fn, sync::Arc, task::Poll};

use supervisor_layers::{
    FailureKind, RestartType, StopCause, TaskContext, TaskFailure,
    context::{NextRun, StopRequest},
    task::catch_panic,
};

use super::{
    Child, Scope,
    core::{GiveUp, Notice},
};
use crate::spec::{AutoShutdown, BoxedChild, OnFuseBlown};

/// Starts the child's task.
pub(super) fn spawn(scope: &Arc<Scope>, child: &Arc<Child>) {
    child.begin_task();
    let over = Over {
        child: child.clone(),
        finished: false,
    };
    let task = tokio::spawn(drive(scope.clone(), child.clone(), over));
    child.started(task.abort_handle());
}

/// One child's task: owns its service and calls it whenever the gate lets a life begin.
async fn drive(scope: Arc<Scope>, child: Arc<Child>, mut over: Over) {
    let gate = child.gate();
    let mut service: Option<Box<dyn BoxedChild>> = None;
    let cause = loop {
        let ctx = match gate.next_run().await {
            NextRun::End(cause) => break cause,
            NextRun::Run(ctx) => ctx,
        };
        let generation = ctx.generation();
        let result = live(&child, &mut service, ctx).await;
        gate.end_life(generation, result.as_ref().map(|&()| ()))
            .await;
        let forgotten = after_life(&scope, &child, &result);
        // An error's destructor is the user's, and may panic.
        let _ = catch_panic(move || drop(result));
        if forgotten {
            // Who asks for another run just now is to learn that there is none.
            gate.end(StopCause::Removal, StopRequest::default());
            break StopCause::Removal;
        }
        // A run that begins in this task now would not live. Another task begins it.
        if child.is_aborted() && !gate.is_ending() {
            break StopCause::Restart;
        }
    };
    // A destructor of the service that panics is not to be the task's end.
    let _ = catch_panic(move || drop(service));
    gate.conclude();
    if cause == StopCause::Removal {
        scope.forget(&child);
    }
    over.finished = true;
}

/// One call of the service: one run of a bare stack, one life of a supervised one.
async fn live(
    child: &Child,
    service: &mut Option<Box<dyn BoxedChild>>,
    ctx: TaskContext,
) -> Result<(), TaskFailure> {
    if service.is_none() {
        *service = Some(catch_panic(|| child.build())?);
    }
    let Some(service) = service else {
        unreachable!("it was just built")
    };
    let (gate, generation) = (ctx.gate(), ctx.generation());
    let ready = poll_fn(|cx| match catch_panic(|| service.poll_ready(cx)) {
        Ok(Poll::Pending) => {
            gate.life_pending();
            Poll::Pending
        }
        Ok(ready) => ready,
        Err(panic) => Poll::Ready(Err(panic)),
    });
    match ctx.run_until_cancelled(ready).await {
        Some(ready) => ready?,
        None => return Ok(()),
    }
    let mut life = catch_panic(|| service.call(ctx))?;
    let mut seen_pending = false;
    let result = poll_fn(|cx| match catch_panic(|| life.as_mut().poll(cx)) {
        Ok(Poll::Pending) => {
            if !std::mem::replace(&mut seen_pending, true) {
                gate.pending(generation);
            }
            Poll::Pending
        }
        Ok(Poll::Ready(result)) => Poll::Ready(result),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await;
    result.and(catch_panic(move || drop(life)))
}

/// What the end of a life means to the supervisor. `true`: the child is to be forgotten.
fn after_life(scope: &Scope, child: &Child, result: &Result<(), TaskFailure>) -> bool {
    let gate = child.gate();
    let by_itself = !scope.tree().is_closing() && !gate.is_ending() && gate.is_ended();
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
                && scope.auto_shutdown != AutoShutdown::Never
                && !failure.is_fatal() =>
            {
                false
            }
            _ => child.significant,
        };
        if escalates {
            let reason = format!("{}: {failure}", child.path()).into();
            let correlation = gate.correlation();
            scope.core.notify(Notice::Escalate(GiveUp {
                reason,
                correlation,
            }));
        }
    }
    if child.significant && !never_started {
        scope.core.notify(Notice::SignificantEnded);
    }
    child.restart_type() == RestartType::Temporary
}

/// Accounts for the task however it ends.
struct Over {
    child: Arc<Child>,
    finished: bool,
}

impl Drop for Over {
    fn drop(&mut self) {
        if !self.finished {
            self.child.gate().abandon();
        }
        self.child.end_task();
    }
}
