use std::sync::Arc;

use supervisor_layers::{
    StopCause,
    context::{Grace, after},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Child, Scope, bring_up::Stopping};
use crate::{shutdown::ShutdownStage, spec::ShutdownOrder};

/// How a wait for a stopping child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    /// It is down.
    Down,
    /// Its grace and what may follow are over.
    Late,
}

impl Scope {
    /// Waits until the child's run `generation` has ended after it was asked to stop. A stack without a grace of its
    /// own is aborted at its deadline. `false`: it cannot be ended.
    pub(crate) async fn settle(self: &Arc<Self>, child: &Arc<Child>, generation: u64) -> bool {
        let gate = child.gate();
        let over = gate.over(generation);
        if self.wait_until(child, Instant::now(), over).await == Waited::Down {
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
            let mut budget_over = std::pin::pin!(self.tree().budget_over());
            while let [child, rest @ ..] = left {
                tokio::select! {
                    biased;
                    () = self.take_down(child, StopCause::Shutdown) => left = rest,
                    () = &mut budget_over => break,
                }
            }
        }
        self.take_down_together(left).await;
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
            child.enter_ending(&self.ending);
            let limit = self.by_grace(drop_at, since);
            first = Some(first.map_or(limit, |first: Instant| first.min(limit)));
        }
        let workers = || children.iter().filter(|child| child.scope().is_none());
        // Nobody has to wait for each of them before that.
        let deadlines = &self.tree().deadlines;
        let seen = deadlines.changes();
        let late = first.into_iter().chain(self.tree().budget()).min();
        tokio::select! {
            biased;
            () = self.ending.none() => {}
            () = deadlines.at(late, seen) => {}
        }
        for child in workers() {
            child.leave_ending(&self.ending);
            // One that is over has told so itself, as it ended.
            if !child.is_over() {
                await_end(child);
            } else if child.is_being_removed() {
                self.note_end(child);
            }
        }
        while ends.join_next().await.is_some() {}
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
    pub(super) async fn take_down(self: &Arc<Self>, child: &Arc<Child>, cause: StopCause) {
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

    async fn await_end(&self, child: &Arc<Child>, since: Instant) {
        if self.wait_until(child, since, child.over()).await == Waited::Late {
            self.tree().enter(ShutdownStage::AbortStragglers);
            child.abort();
            let _ = timeout(self.abort_wait, child.over()).await;
        }
        if let Some(scope) = child.scope() {
            // One that was dropped could abort its children, but not see them end.
            let below = scope.descendants();
            let all_over = async {
                for child in &below {
                    child.over().await;
                }
            };
            let _ = timeout(self.abort_wait, all_over).await;
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

    /// Waits for `down`, up to the end of the child's grace and what may follow it, or of the budget.
    async fn wait_until(
        &self,
        child: &Child,
        since: Instant,
        down: impl Future<Output = ()>,
    ) -> Waited {
        let mut down = std::pin::pin!(down);
        let deadlines = &self.tree().deadlines;
        loop {
            let seen = deadlines.changes();
            let limit = self.limit(child, since);
            tokio::select! {
                biased;
                () = &mut down => return Waited::Down,
                () = deadlines.at(limit, seen) => {
                    // The run may have asked for more time, or been given less, meanwhile.
                    if self.limit(child, since).is_some_and(|limit| limit <= Instant::now()) {
                        return Waited::Late;
                    }
                }
            }
        }
    }

    /// When waiting any longer for a child that is stopping has no sense.
    fn limit(&self, child: &Child, since: Instant) -> Option<Instant> {
        let budget = self.tree().budget();
        let levels = child.height();
        if levels > 0 {
            // A supervisor has what the budget leaves, and ends its own children within it.
            let wait = self.abort_wait.saturating_mul(levels + 1);
            return budget.map(|budget| after(budget, wait));
        }
        let by_grace = self.by_grace(child.gate().drop_at(), since);
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
