use std::sync::Arc;

use supervisor_layers::{
    StopCause,
    context::{Grace, after},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Child, Scope, bring_up::Stopping, deadlines::Patience};
use crate::{shutdown::ShutdownStage, spec::ShutdownOrder};

impl Scope {
    /// Waits until the child's run `generation` has ended after it was asked to stop. A stack without a grace of its
    /// own is aborted at its deadline. `false`: it cannot be ended.
    pub(crate) async fn settle(self: &Arc<Self>, child: &Arc<Child>, generation: u64) -> bool {
        let gate = child.gate();
        let (since, mut patience) = (Instant::now(), self.tree().deadlines.patience());
        let limit = || self.limit(child, gate.drop_at(), since);
        if patience.until(limit, gate.over(generation)).await.is_some() {
            return true;
        }
        if gate.grace().is_some() {
            return false;
        }
        child.abort();
        if timeout(self.abort_wait, child.over()).await.is_ok() {
            return true;
        }
        // Its task ends with the run at last, and another one has to be there if the child is to run again.
        let (scope, child) = (self.clone(), child.clone());
        tokio::spawn(async move {
            child.over().await;
            scope.revive(&child);
        });
        false
    }

    /// Ends all children for good: in reverse start order, each one's end awaited, or all at once. When
    /// the budget is spent, what is left is ended together.
    pub(super) async fn take_down_all(self: &Arc<Self>) {
        let mut children = self.children();
        children.reverse();
        self.tree().enter(ShutdownStage::GracefulDrain);
        let mut left = children.as_slice();
        if self.shutdown_order == ShutdownOrder::Reverse {
            if self.tree().is_closing() {
                self.end_idle();
            }
            let mut patience = self.tree().deadlines.patience();
            while let [child, rest @ ..] = left {
                if !self.take_down_in_turn(child, &mut patience).await {
                    break;
                }
                left = rest;
            }
        }
        self.take_down_together(left).await;
    }

    /// Ends one child of several; `false`: the budget is spent, and it may not have ended.
    async fn take_down_in_turn(&self, child: &Arc<Child>, patience: &mut Patience<'_>) -> bool {
        if child.scope().is_some() {
            // It has longer than the budget to end its own, and those beside it are not to wait so long.
            let taken_down = Box::pin(self.take_down(child, StopCause::Shutdown));
            return self.tree().within_budget(taken_down).await.is_some();
        }
        let stopping = self.stopping();
        let drop_at = self.ask(child, StopCause::Shutdown, &stopping);
        let mut known = Some(drop_at);
        let limit = || {
            let drop_at = known.take().unwrap_or_else(|| child.gate().drop_at());
            self.limit(child, drop_at, stopping.at)
        };
        if patience.until(limit, child.over()).await.is_none() {
            if self.tree().budget_spent() {
                return false;
            }
            self.abort(child).await;
        }
        self.note_end(child);
        true
    }

    async fn take_down_together(self: &Arc<Self>, children: &[Arc<Child>]) {
        let stopping = self.stopping();
        let since = stopping.at;
        let mut ends = JoinSet::new();
        let mut await_end = |child: &Arc<Child>| {
            let (scope, child) = (self.clone(), child.clone());
            ends.spawn(async move { scope.await_end(&child, since).await });
        };
        // When the first of them is late.
        let mut first = None;
        for child in children {
            let drop_at = self.ask(child, StopCause::Shutdown, &stopping);
            if let Some(scope) = child.scope() {
                if self.tree().is_closing() {
                    scope.end_idle();
                }
                await_end(child);
                continue;
            }
            if child.is_over() {
                self.note_end(child);
                continue;
            }
            let limit = self.by_grace(drop_at, since);
            first = Some(first.map_or(limit, |first: Instant| first.min(limit)));
        }
        // Nobody has to wait for each of them before that.
        let late = || first.into_iter().chain(self.tree().budget()).min();
        let mut patience = self.tree().deadlines.patience();
        if patience
            .until(late, self.all_over(children))
            .await
            .is_none()
        {
            for child in children.iter().filter(|child| child.scope().is_none()) {
                match child.is_over() {
                    true => self.note_untold(child),
                    false => await_end(child),
                }
            }
        }
        while ends.join_next().await.is_some() {}
    }

    /// Waits until no worker among these has a task, and notes how they took it.
    async fn all_over(&self, children: &[Arc<Child>]) {
        for side_by_side in children.chunks(100) {
            let workers = || side_by_side.iter().filter(|child| child.scope().is_none());
            // They end more or less in the order in which they were asked to: with the last of them most have,
            // and nobody has to be woken for each.
            if let Some(last) = workers().next_back() {
                last.over().await;
            }
            for child in workers() {
                child.over().await;
                self.note_untold(child);
            }
        }
    }

    /// Ends what has no run, here and below: it need not wait for its turn.
    pub(super) fn end_idle(&self) {
        let idle = |child: &&Arc<Child>| child.scope().is_some() || !child.gate().is_active();
        let idle: Vec<_> =
            self.look_at_children(|children| children.filter(idle).cloned().collect());
        for child in idle {
            let gate = child.gate();
            if !gate.is_active() {
                gate.end(StopCause::Shutdown, self.stop_request(&child));
            }
            if let Some(scope) = child.scope() {
                scope.end_idle();
            }
        }
    }

    /// Ends one child for good and notes how it took it.
    pub(super) async fn take_down(&self, child: &Arc<Child>, cause: StopCause) {
        let stopping = self.stopping();
        self.ask(child, cause, &stopping);
        self.await_end(child, stopping.at).await;
    }

    fn ask(
        &self,
        child: &Child,
        cause: StopCause,
        stopping: &Stopping,
    ) -> Option<(Instant, Grace)> {
        child.asked(stopping.uptime);
        child.gate().end(cause, stopping.request(child))
    }

    /// Waits for the end of a child that was asked for it, and notes how it took it.
    async fn await_end(&self, child: &Arc<Child>, since: Instant) {
        let limit = || self.limit(child, child.gate().drop_at(), since);
        let mut patience = self.tree().deadlines.patience();
        if patience.until(limit, child.over()).await.is_none() {
            Box::pin(self.abort(child)).await;
        }
        if let Some(scope) = child.scope() {
            // One that was dropped could abort its children, but not see them end.
            let below = scope.descendants();
            let all_over = async {
                for child in &below {
                    child.over().await;
                }
            };
            let _ = Box::pin(timeout(self.abort_wait, all_over)).await;
        }
        self.note_end(child);
    }

    /// Tells how it took the shutdown, if there is one.
    pub(super) fn note_end(&self, child: &Child) {
        if self.tree().is_closing() {
            self.tree().account(child);
        } else {
            child.settled();
        }
    }

    /// The same of a worker that is over. All but what is taken out have told so themselves, as they ended.
    fn note_untold(&self, child: &Child) {
        if !child.is_accounted() && child.is_being_removed() {
            self.note_end(child);
        }
    }

    /// Its grace and what may follow are over.
    async fn abort(&self, child: &Child) {
        self.tree().enter(ShutdownStage::AbortStragglers);
        child.abort();
        let _ = timeout(self.abort_wait, child.over()).await;
    }

    /// When waiting any longer for a child that is stopping has no sense.
    fn limit(
        &self,
        child: &Child,
        drop_at: Option<(Instant, Grace)>,
        since: Instant,
    ) -> Option<Instant> {
        let budget = self.tree().budget();
        let levels = child.height();
        if levels > 0 {
            // A supervisor has what the budget leaves, and ends its own children within it.
            let wait = self.abort_wait.saturating_mul(levels + 1);
            return budget.map(|budget| after(budget, wait));
        }
        let by_grace = self.by_grace(drop_at, since);
        Some(budget.map_or(by_grace, |budget| budget.min(by_grace)))
    }

    /// When a worker is late that is being dropped then, and has been waited for `since`.
    fn by_grace(&self, drop_at: Option<(Instant, Grace)>, since: Instant) -> Instant {
        match drop_at {
            Some((at, Grace::OfStopper)) => at,
            // A run is dropped in its own task; only when that did not happen it has to be aborted.
            Some((at, Grace::Own)) => after(at.max(since), self.abort_wait),
            // Its run has ended already, and what that started is being ended.
            None => after(since, self.abort_wait),
        }
    }
}
