use std::sync::Arc;

use supervisor_layers::{
    Gate, StopCause, TaskContext, TaskFailure,
    context::{ContextSpec, NextRun, ReadinessPolicy, StartOutcome, StopRequest},
    task::catch_panic,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Scope, Tree, files::Files, quiet::Quiet, shared::sleep_until_some, supervise::supervise,
};
use crate::{
    SupervisorError,
    audit::{AuditEntry, AuditLog},
    control::Change,
    event::TreeEvent,
    metrics,
    shutdown::{
        ChildShutdownStatus, ExitOutcome, RuntimeExitReport, ShutdownPipelineReport,
        ShutdownReconcileReport, ShutdownResult, ShutdownStage, SocketStatus, Straggler,
    },
    spec::{SupervisorPath, SupervisorSpec, check_id},
};

/// A tree as its handle knows it: its root supervisor, and how it will have ended.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) name: Arc<str>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) gate: Gate,
    pub(crate) end: watch::Receiver<Option<Arc<RuntimeExitReport>>>,
}

/// A tree that is about to start.
pub(crate) struct Start {
    pub(crate) root: Root,
    ctx: TaskContext,
    send: watch::Sender<Option<Arc<RuntimeExitReport>>>,
    cancel_on: Option<CancellationToken>,
    files: Files,
}

impl Start {
    /// Everything as declared, and nothing running.
    pub(crate) fn new(mut spec: SupervisorSpec) -> Result<Self, SupervisorError> {
        check_id(&spec.id).map_err(|source| SupervisorError::InvalidId {
            parent: SupervisorPath::root(),
            source,
        })?;
        let tree = Tree::new(&spec);
        let files = Files::open(&spec.tree, &tree)?;
        let name: Arc<str> = spec.id.as_str().into();
        let cancel_on = spec.tree.cancel_on.take();
        let scope = Scope::build(spec, &SupervisorPath::root(), &tree, None)?;
        let ctx = TaskContext::supervised(
            SupervisorPath::root().shared(),
            scope.core().clone(),
            ContextSpec {
                readiness: ReadinessPolicy::Explicit,
                ..ContextSpec::default()
            },
        );
        let (send, end) = watch::channel(None);
        let root = Root {
            name,
            scope,
            gate: ctx.gate(),
            end,
        };
        Ok(Self {
            root,
            ctx,
            send,
            cancel_on,
            files,
        })
    }

    /// Starts the tree and waits until all its children have started.
    ///
    /// Dropping this future stops what has started.
    pub(crate) async fn finish(self) -> Result<(), SupervisorError> {
        let Root {
            scope,
            gate,
            mut end,
            ..
        } = self.root;
        let tree = scope.tree().clone();
        let guard = StopOnDrop {
            tree: tree.clone(),
            armed: true,
        };
        tokio::spawn(run(scope, self.ctx, self.send, self.files));
        if let Some(token) = self.cancel_on {
            tokio::spawn(shut_down_on(token, tree.clone(), end.clone()));
        }
        let outcome = gate.started(0).await;
        // It may have had all its work done before anybody looked.
        if outcome == StartOutcome::Started || tree.has_started() {
            guard.disarm();
            return Ok(());
        }
        // What had started has been stopped when the root has ended.
        let _ = end.wait_for(Option::is_some).await;
        guard.disarm();
        Err(match tree.start_failure() {
            Some((path, reason)) => SupervisorError::StartFailed { path, reason },
            None => SupervisorError::StartStopped,
        })
    }
}

async fn shut_down_on(
    token: CancellationToken,
    tree: Arc<Tree>,
    mut end: watch::Receiver<Option<Arc<RuntimeExitReport>>>,
) {
    tokio::select! {
        () = token.cancelled() => {
            tree.request_shutdown(None);
        }
        _ = end.wait_for(Option::is_some) => {}
    }
}

/// The root's task: its lives, until it is shut down, done, or gives up.
async fn run(
    scope: Arc<Scope>,
    ctx: TaskContext,
    end: watch::Sender<Option<Arc<RuntimeExitReport>>>,
    files: Files,
) {
    let tree = scope.tree().clone();
    let end = End {
        tree: tree.clone(),
        send: end,
    };
    let mut files = std::pin::pin!(files.keep(&tree));
    let mut written = false;
    let gate = ctx.gate();
    let asked = scope.tree().shutdown_asked();
    let began = Instant::now();
    let lives = lives(&scope, &gate);
    let mut lives = std::pin::pin!(lives);
    let outcome = {
        let mut watch = std::pin::pin!(watch(&tree));
        let mut beside = Quiet::new(Box::pin(beside(&mut watch, &mut files, &mut written)));
        tokio::select! {
            biased;
            outcome = &mut lives => outcome,
            () = &mut beside => unreachable!("it goes on as long as it is polled"),
            () = asked.cancelled() => {
                // A root that ends by itself is stopped by nobody, however long its children take.
                if !scope.tree().ended_by_itself() {
                    let request = StopRequest {
                        correlation: scope.tree().correlation(),
                        ..StopRequest::default()
                    };
                    gate.end(StopCause::Shutdown, request);
                    // It may be stopping its children already, one after the other.
                    if !scope.is_live() {
                        scope.end_idle();
                    }
                }
                tokio::select! {
                    biased;
                    outcome = &mut lives => outcome,
                    () = &mut beside => unreachable!("it goes on as long as it is polled"),
                }
            }
        }
    };
    let outcome = match outcome {
        ExitOutcome::Finished if !scope.tree().ended_by_itself() => ExitOutcome::ShutDown,
        outcome => outcome,
    };
    let outcome = match scope.tree().gave_up() {
        Some(reason) => ExitOutcome::GaveUp { reason },
        None => outcome,
    };
    let shutdown = reconcile(&scope, began);
    tree.journal.close();
    if let Some(queue) = tree.audit.as_ref().and_then(AuditLog::queue) {
        queue.close();
    }
    // Whoever is told of the end finds everything in the files.
    if !written && timeout(scope.abort_wait, files).await.is_err() {
        tracing::error!(target: "rust_supervisor", "the tree has ended, and not all is in its files");
    }
    end.tell(outcome, Some(shutdown));
}

/// Tells, once, how the tree ended; of a task that is dropped, that its runtime was torn down.
struct End {
    tree: Arc<Tree>,
    send: watch::Sender<Option<Arc<RuntimeExitReport>>>,
}

impl End {
    fn tell(&self, outcome: ExitOutcome, shutdown: Option<ShutdownResult>) {
        let report = RuntimeExitReport {
            outcome,
            uptime: self.tree.journal.uptime(),
            shutdown,
        };
        self.tree.journal.close();
        self.send.send_replace(Some(Arc::new(report)));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.send.borrow().is_some() {
            return;
        }
        self.tree.request_shutdown(None);
        let reason = "the runtime was torn down".to_owned();
        self.tell(ExitOutcome::GaveUp { reason }, None);
    }
}

/// What goes on beside the tree's lives, in the same task.
async fn beside(
    watch: &mut (impl Future<Output = ()> + Unpin),
    files: &mut (impl Future<Output = ()> + Unpin),
    written: &mut bool,
) {
    if !*written {
        tokio::select! {
            () = &mut *watch => {}
            () = files => *written = true,
        }
    }
    watch.await;
}

/// Looks after those who watch the tree, and those who wait for its children.
async fn watch(tree: &Tree) {
    tokio::join!(watch_subscribers(tree), tree.deadlines.keep());
}

/// Tells of subscribers that fall behind, and takes from them what they do not read.
async fn watch_subscribers(tree: &Tree) {
    let ring = &tree.journal;
    loop {
        let seen = ring.lag.look(ring.head());
        for event in seen.events {
            tree.record(&SupervisorPath::root(), event, 0);
        }
        for (subscriber, left_out) in seen.sampled {
            tree.tell_audit(|| AuditEntry::SubscriberSampled {
                subscriber,
                left_out,
            });
        }
        tokio::select! {
            () = ring.lag.rung() => {}
            () = sleep_until_some(seen.again) => {}
        }
    }
}

async fn lives(scope: &Arc<Scope>, gate: &Gate) -> ExitOutcome {
    loop {
        let ctx = match gate.next_run().await {
            NextRun::End(_) => return ExitOutcome::ShutDown,
            NextRun::Run(ctx) => ctx,
        };
        let generation = ctx.generation();
        let result = guarded(scope.clone(), ctx).await;
        gate.end_life(generation, &result).await;
        match result {
            // In quarantine: it runs again when it is released, or was while its children stopped.
            _ if !gate.is_ended() => {}
            Ok(()) => return ExitOutcome::Finished,
            Err(failure) => {
                return ExitOutcome::GaveUp {
                    reason: failure.to_string(),
                };
            }
        }
    }
}

async fn guarded(scope: Arc<Scope>, ctx: TaskContext) -> Result<(), TaskFailure> {
    let mut life = Box::pin(supervise(scope, ctx));
    std::future::poll_fn(|cx| match catch_panic(|| life.as_mut().poll(cx)) {
        Ok(poll) => poll,
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    })
    .await
}

/// Stage four: everything is counted.
fn reconcile(scope: &Arc<Scope>, began: Instant) -> ShutdownResult {
    let tree = scope.tree();
    // A tree that ended by itself has gone through the same stages; only nobody asked for it.
    tree.request_shutdown(None);
    tree.enter(ShutdownStage::Reconcile);
    let mut count = ShutdownReconcileReport {
        children: 0,
        tasks_alive: 0,
        helpers_alive: 0,
        stragglers: Vec::new(),
        socket: SocketStatus::NotOwned,
    };
    account(scope, &mut count);
    for child in tree.take_lingering() {
        account_child(tree, &child, &mut count);
    }
    let alive = |path: &SupervisorPath| count.stragglers.iter().any(|alive| alive.path == *path);
    let mut children = tree.take_shutdowns();
    for child in &mut children {
        if child.status == ChildShutdownStatus::AbortFailed && !alive(&child.path) {
            child.status = ChildShutdownStatus::LateReport;
        }
    }
    let asked = tree.asked_at().unwrap_or(began);
    let report = ShutdownPipelineReport {
        requested: tree.requested(),
        children: Arc::new(children),
        reconcile: count,
        took: asked.elapsed(),
        timed_out: tree.budget_spent(),
    };
    let clean = report.is_clean();
    let result = ShutdownResult { clean, report };
    let (root, correlation) = (SupervisorPath::root(), tree.correlation());
    if correlation != 0 {
        let words: Arc<str> = result.to_string().into();
        let completed = TreeEvent::CommandCompleted {
            command: Tree::SHUTDOWN.into(),
            outcome: words.clone(),
        };
        tree.record(&root, completed, correlation);
        if tree.counted {
            metrics::command_ended(Tree::SHUTDOWN, "completed");
        }
        if let Some(by) = tree.requested() {
            tree.audit_shutdown(&by, Change::Done, &words, Some(correlation));
        }
    }
    if tree.counted {
        metrics::shut_down(&result);
    }
    tree.record(&root, TreeEvent::ShutdownCompleted { clean }, correlation);
    result
}

fn account(scope: &Scope, count: &mut ShutdownReconcileReport) {
    scope.look_at_children(|children| {
        for child in children {
            account_child(scope.tree(), child, count);
            if let Some(scope) = child.scope() {
                account(scope, count);
            }
        }
    });
}

fn account_child(tree: &Tree, child: &super::Child, count: &mut ShutdownReconcileReport) {
    // Those below a supervisor that was down already were not asked by anybody.
    tree.account(child);
    count.children += 1;
    if child.is_gone() {
        return;
    }
    let now = tree.journal.uptime();
    let helpers = child.gate().snapshot().helpers;
    count.tasks_alive += usize::from(!child.is_over());
    count.helpers_alive += helpers.len();
    count.stragglers.push(Straggler {
        path: child.path(),
        generation: child.gate().generation(),
        since: now.saturating_sub(child.asked(now).at),
        helpers,
    });
}

/// A start that is dropped stops what has started.
struct StopOnDrop {
    tree: Arc<Tree>,
    armed: bool,
}

impl StopOnDrop {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.tree.request_shutdown(None);
        }
    }
}
