use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use supervisor_layers::{
    FuseLimit, Owner, RestartAction, RestartDecision, StopCause, TaskExit,
    context::{Recorded, RunEnd, RunId, Steps},
    policy::{FuseReading, Nanos, SlidingLog},
};
use tokio::{sync::Notify, time::Instant};

use super::{Scope, Tree};
use crate::{
    event::{LastEnd, Origin, TreeEvent},
    metrics,
    shutdown::{ChildShutdown, ChildShutdownStatus},
    spec::{AutoShutdown, SupervisorPath, SupervisorSpec},
    sync::{Apart, lock},
};

/// What a supervisor's children know of it: where to record, whether a restart may pass, whom to tell.
///
/// Apart from the supervisor itself, which owns the children, so that they do not keep each other alive.
pub(crate) struct ScopeCore {
    pub(crate) path: SupervisorPath,
    pub(crate) tree: Arc<Tree>,
    /// The supervisor itself, once it is made and as long as there is one.
    pub(super) scope: OnceLock<Weak<Scope>>,
    pub(super) auto_shutdown: AutoShutdown,
    limit: FuseLimit,
    intensity: Apart<Mutex<SlidingLog>>,
    notices: Mutex<VecDeque<Notice>>,
    noticed: Notify,
    /// What the supervisor does now is a consequence of; 0 for nothing.
    cause: AtomicU64,
    /// Somebody waits for a held sibling: whatever happens to a child may be what they wait for.
    dependants_wait: AtomicBool,
}

/// What a child's task tells its supervisor: only what concerns siblings.
#[derive(Debug)]
pub(super) enum Notice {
    /// The group of this child is to restart.
    Restart {
        instance: u64,
        generation: u64,
        delay: Duration,
    },
    /// The supervisor is to give up.
    Escalate(GiveUp),
    /// A significant child ended by itself.
    SignificantEnded,
    /// Something happened that dependants of a held child may have waited for.
    Stirred,
}

/// Why a supervisor is to give up, and what that is a consequence of.
#[derive(Debug, Clone)]
pub(super) struct GiveUp {
    pub(super) reason: Arc<str>,
    pub(super) correlation: u64,
}

impl ScopeCore {
    pub(super) fn new(path: SupervisorPath, tree: Arc<Tree>, spec: &SupervisorSpec) -> Self {
        Self {
            path,
            tree,
            scope: OnceLock::new(),
            auto_shutdown: spec.auto_shutdown,
            limit: spec.intensity,
            intensity: Apart::default(),
            notices: Mutex::default(),
            noticed: Notify::new(),
            cause: AtomicU64::new(0),
            dependants_wait: AtomicBool::new(false),
        }
    }

    /// The supervisor, if it is there still.
    pub(crate) fn supervisor(&self) -> Option<Arc<Scope>> {
        self.scope.get().and_then(Weak::upgrade)
    }

    /// What the supervisor does from now on is a consequence of this.
    pub(super) fn acts_because(&self, correlation: u64) {
        self.cause.store(correlation, Ordering::Relaxed);
    }

    pub(super) fn cause(&self) -> u64 {
        self.cause.load(Ordering::Relaxed)
    }

    pub(super) fn notify(&self, notice: Notice) {
        lock(&self.notices).push_back(notice);
        self.noticed.notify_one();
    }

    /// Whether dependants of a held child wait, so that the supervisor looks whenever something happens.
    pub(super) fn let_dependants_wait(&self, wait: bool) {
        self.dependants_wait.store(wait, Ordering::Release);
    }

    fn stir(&self) {
        let mut notices = lock(&self.notices);
        if !notices
            .iter()
            .any(|notice| matches!(notice, Notice::Stirred))
        {
            notices.push_back(Notice::Stirred);
            self.noticed.notify_one();
        }
    }

    /// # Cancel safety
    ///
    /// A notice is taken only when this returns it.
    pub(super) async fn next_notice(&self) -> Notice {
        self.next_where(|_| true).await
    }

    /// The next notice that a group restart has to act on; others wait until it is over.
    ///
    /// # Cancel safety
    ///
    /// As [`next_notice`](Self::next_notice).
    pub(super) async fn next_group_notice(&self) -> Notice {
        self.next_where(|notice| matches!(notice, Notice::Restart { .. } | Notice::Escalate(_)))
            .await
    }

    async fn next_where(&self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        loop {
            let noticed = self.noticed.notified();
            {
                let mut notices = lock(&self.notices);
                let at = notices.iter().position(&wanted);
                if let Some(notice) = at.and_then(|at| notices.remove(at)) {
                    return notice;
                }
            }
            noticed.await;
        }
    }

    pub(super) fn forget_notices(&self) {
        lock(&self.notices).clear();
    }

    /// A new life of the supervisor counts anew.
    pub(super) fn reset_intensity(&self) {
        lock(&self.intensity.0).clear();
    }

    /// Counts one restart; `false` is one too many.
    pub(super) fn charge_intensity(&self, now: Nanos) -> bool {
        !self.limit.is_limited() || !lock(&self.intensity.0).charge(self.limit, now).blown
    }

    pub(crate) fn intensity(&self) -> FuseReading {
        let used = lock(&self.intensity.0).used(self.limit, self.tree.journal.now());
        FuseReading {
            used,
            limit: self.limit,
            blown: used > self.limit.failures,
        }
    }

    pub(super) fn record(&self, event: TreeEvent, correlation: u64) -> u64 {
        self.tree.record(&self.path, event, correlation)
    }

    pub(super) fn exceeded(&self, correlation: u64) -> GiveUp {
        self.record(
            TreeEvent::IntensityExceeded {
                restarts: self.limit.failures,
                period: self.limit.window,
            },
            correlation,
        );
        let reason = format!(
            "intensity exceeded: more than {} restarts in {:?}",
            self.limit.failures, self.limit.window
        );
        GiveUp {
            reason: reason.into(),
            correlation,
        }
    }
}

impl Owner for ScopeCore {
    fn origin(&self) -> Instant {
        self.tree.journal.origin()
    }

    fn record(&self, run: RunId<'_>, at: Nanos, steps: Steps<'_>, correlation: u64) -> Recorded {
        if self.dependants_wait.load(Ordering::Acquire) {
            self.stir();
        }
        self.tree
            .journal
            .append(Origin::from(run), at, steps, correlation)
    }

    /// If it is the shutdown that ends the run, and there is no more to say of it.
    fn record_last(
        &self,
        run: RunId<'_>,
        at: Nanos,
        end: &RunEnd,
        asked: Nanos,
        correlation: u64,
    ) -> Option<Recorded> {
        let (tree, end) = (&self.tree, end.plain()?);
        let by_shutdown = tree.is_closing()
            && end.stopped_for() == Some(StopCause::Shutdown)
            && end.exit() != TaskExit::Aborted
            && correlation == tree.correlation()
            && correlation != 0;
        if !by_shutdown {
            return None;
        }
        let recorded = tree
            .journal
            .append(run.into(), at, LastEnd(end), correlation);
        tree.note_shutdown(ChildShutdown {
            path: SupervisorPath::of(run.path.clone()),
            generation: run.generation,
            status: ChildShutdownStatus::Graceful,
            took: at.saturating_sub(asked),
            sequence: recorded.sequence,
        });
        Some(recorded)
    }

    fn admit_restart(&self, now: Nanos) -> bool {
        self.charge_intensity(now)
    }

    fn is_closing(&self) -> bool {
        self.tree.is_closing()
    }

    fn decided(&self, run: RunId<'_>, decision: &RestartDecision, correlation: u64) {
        if self.tree.counted {
            metrics::decided(run.path, decision);
        }
        // Nothing restarts any more, and the siblings stop when it is their turn.
        if self.tree.is_closing() {
            return;
        }
        match decision.action {
            RestartAction::RestartGroup { delay } => self.notify(Notice::Restart {
                instance: run.instance,
                generation: run.generation,
                delay,
            }),
            RestartAction::Escalate => {
                let give_up = self.exceeded(correlation);
                self.notify(Notice::Escalate(give_up));
            }
            _ => {}
        }
    }

    fn jitter_seed(&self) -> Option<u64> {
        self.tree.jitter_seed
    }
}
