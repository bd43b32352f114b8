use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use supervisor_layers::{
    FailureKind, RestartType, StopCause, TaskContext, TaskFailure,
    context::{NextRun, StopRequest},
    task::catch_panic,
};

use tokio::task::JoinHandle;

use super::{
    Child, Scope,
    child::ChildKind,
    core::{GiveUp, Notice},
    supervise::SupervisorService,
};
use crate::spec::{AutoShutdown, Lives, OnFuseBlown, Supervised};

/// Starts the child's task.
pub(super) fn spawn(scope: &Arc<Scope>, child: &Arc<Child>) {
    child.begin_task();
    let task = ChildTask {
        scope: scope.clone(),
        child: child.clone(),
        finished: false,
    };
    child.started(match &child.kind {
        ChildKind::Worker(build) => build.clone().spawn(&child.stack, task),
        ChildKind::Supervisor(scope) => {
            let scope = scope.clone();
            let service = move || SupervisorService::new(scope.clone());
            task.spawn(Supervised::new(child.stack.clone(), service))
        }
    });
}

/// One child's task, before it knows what it runs. However it ends, it is accounted for.
pub(crate) struct ChildTask {
    scope: Arc<Scope>,
    child: Arc<Child>,
    finished: bool,
}

impl ChildTask {
    pub(crate) fn spawn<L: Lives>(self, lives: L) -> JoinHandle<()> {
        tokio::spawn(drive(self, lives))
    }
}

impl Drop for ChildTask {
    fn drop(&mut self) {
        if !self.finished {
            self.child.gate().abandon();
        }
        self.child.end_task();
        // A supervisor's end is told when what it left behind has ended too.
        if self.child.scope().is_none() {
            self.scope.note_end(&self.child);
        }
        self.child.leave_ending(&self.scope.ending);
    }
}

/// Begins a life whenever the gate lets one begin.
async fn drive<L: Lives>(mut task: ChildTask, mut lives: L) {
    let cause = loop {
        let ctx = match task.child.gate().next_run().await {
            NextRun::End(cause) => break cause,
            NextRun::Run(ctx) => ctx,
        };
        let generation = ctx.generation();
        let result = live(&mut lives, ctx).await;
        let (child, gate) = (&task.child, task.child.gate());
        gate.end_life(generation, result.as_ref().map(|&()| ()))
            .await;
        let forgotten = after_life(&task.scope, child, &result);
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
    let _ = catch_panic(move || drop(lives));
    task.child.gate().conclude();
    if cause == StopCause::Removal {
        task.scope.forget(&task.child);
    }
    task.finished = true;
}

/// One call of the service: one run of a bare stack, one life of a supervised one.
async fn live<L: Lives>(lives: &mut L, ctx: TaskContext) -> Result<(), TaskFailure> {
    let (gate, generation) = (ctx.gate(), ctx.generation());
    let ready = poll_fn(|cx| match catch_panic(|| lives.poll_ready(cx)) {
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
    let mut life = pin!(Some(catch_panic(|| lives.call(ctx))?));
    let mut seen_pending = false;
    let result = poll_fn(|cx| {
        let Some(life) = life.as_mut().as_pin_mut() else {
            unreachable!("it is dropped when it has ended")
        };
        match catch_panic(|| life.poll(cx)) {
            Ok(Poll::Pending) => {
                if !std::mem::replace(&mut seen_pending, true) {
                    gate.pending(generation);
                }
                Poll::Pending
            }
            Ok(Poll::Ready(result)) => Poll::Ready(result),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    result.and(catch_panic(|| life.set(None)))
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
