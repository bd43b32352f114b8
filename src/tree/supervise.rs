use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use supervisor_layers::{FailureKind, StopCause, TaskContext, TaskFailure, context::StopRequest};
use tower_service::Service;

use super::{
    Scope,
    core::{GiveUp, Notice},
};
use crate::{
    event::TreeEvent,
    spec::{AutoShutdown, EscalationPolicy},
};

/// A supervisor as a service: a child like any other.
#[derive(Debug, Clone)]
pub(super) struct SupervisorService {
    scope: Arc<Scope>,
}

impl SupervisorService {
    pub(super) fn new(scope: Arc<Scope>) -> Self {
        Self { scope }
    }
}

impl Service<TaskContext> for SupervisorService {
    type Response = ();
    type Error = TaskFailure;
    type Future = Pin<Box<dyn Future<Output = Result<(), TaskFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TaskFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        Box::pin(supervise(self.scope.clone(), ctx))
    }
}

/// One life of a supervisor: starts its children in order, acts on what concerns them together, and stops
/// them when it ends. Dropped, it aborts them.
pub(super) async fn supervise(scope: Arc<Scope>, ctx: TaskContext) -> Result<(), TaskFailure> {
    // Not by the generation: a first run may have been stopped before anybody polled it.
    let first = scope.begins();
    let mut life = Life {
        scope: &scope,
        over: false,
    };
    let started = begin(&scope, &ctx, first).await;
    let result = match started {
        Some(Ok(())) => {
            if scope.path().is_root() {
                scope.tree().note_started();
            }
            ctx.mark_ready();
            scope.core.acts_because(0);
            attend(&scope, &ctx).await
        }
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    scope.set_live(false);
    if scope.path().is_root() && !ctx.gate().is_held() {
        scope.tree().end_by_itself();
    }
    scope.core.acts_because(ctx.gate().correlation());
    scope.take_down_all().await;
    life.over = true;
    result
}

async fn begin(
    scope: &Arc<Scope>,
    ctx: &TaskContext,
    first: bool,
) -> Option<Result<(), TaskFailure>> {
    scope.core.forget_notices();
    scope.core.reset_intensity();
    scope.core.acts_because(ctx.gate().correlation());
    if !first {
        scope.drop_dynamic();
    }
    let members = scope.children();
    if first {
        let tree = scope.tree();
        let now = tree.journal.now();
        for child in &members {
            tree.announce(child, TreeEvent::ChildAdded, now);
        }
    }
    // From now on others are added, each started by whoever adds it.
    scope.set_live(true);
    if first {
        return ctx.run_until_cancelled(scope.bring_up_first(members)).await;
    }
    let begun = ctx
        .run_until_cancelled(scope.bring_up_again(members))
        .await?;
    Some(begun.map_err(|why| give_up(scope, ctx, &why)))
}

/// Waits for what concerns siblings; an exit that a child's own task takes care of never comes by here.
async fn attend(scope: &Arc<Scope>, ctx: &TaskContext) -> Result<(), TaskFailure> {
    loop {
        scope.start_dependants();
        let Some(notice) = ctx.run_until_cancelled(scope.core.next_notice()).await else {
            return Ok(());
        };
        match notice {
            Notice::Restart {
                instance,
                generation,
                delay,
            } => {
                let restart = scope.restart_group(instance, generation, delay);
                match ctx.run_until_cancelled(restart).await {
                    None => return Ok(()),
                    Some(Ok(())) => {}
                    Some(Err(why)) => return Err(give_up(scope, ctx, &why)),
                }
            }
            Notice::Escalate(why) => return Err(give_up(scope, ctx, &why)),
            Notice::SignificantEnded if scope.is_done() => return Ok(()),
            Notice::SignificantEnded | Notice::Stirred => {}
        }
    }
}

fn give_up(scope: &Scope, ctx: &TaskContext, why: &GiveUp) -> TaskFailure {
    let (policy, reason) = (scope.escalation, &why.reason);
    // Its own end is a consequence of the same.
    ctx.gate().correlate(why.correlation);
    scope.core.record(
        TreeEvent::Escalated {
            policy,
            reason: reason.clone(),
        },
        why.correlation,
    );
    match policy {
        EscalationPolicy::EscalateToParent => {}
        EscalationPolicy::ShutdownTree => {
            let reason = format!("{} gave up: {reason}", scope.path());
            scope.tree().give_up(reason);
            // Whoever else hears of it first, its own end is part of the shutdown.
            ctx.gate().end(StopCause::Shutdown, StopRequest::default());
        }
        EscalationPolicy::QuarantineScope => {
            ctx.gate()
                .quarantine_with(reason.clone(), None, StopRequest::default());
        }
    }
    TaskFailure::new(
        FailureKind::IntensityExceeded,
        format!("{} gave up: {reason}", scope.path()),
    )
}

impl Scope {
    /// Whether the significant children's ends mean its own.
    fn is_done(&self) -> bool {
        match self.core.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => self
                .children()
                .iter()
                .all(|child| !child.significant || child.gate().is_ended()),
        }
    }

    fn abort_all(&self) {
        for child in self.children() {
            child.asked(self.tree().journal.uptime());
            child
                .gate()
                .end(StopCause::Shutdown, StopRequest::default());
            child.abort();
        }
    }
}

/// Sees to the children of a life that is dropped.
struct Life<'a> {
    scope: &'a Arc<Scope>,
    over: bool,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.scope.set_live(false);
            self.scope.abort_all();
        }
    }
}
