use std::sync::Arc;

use supervisor_layers::{StopCause, TaskExit};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Child, Scope};
use crate::{
    event::TreeEvent,
    shutdown::{ChildShutdown, ChildShutdownStatus, ShutdownStage},
    spec::ShutdownOrder,
};

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
    pub(crate) async fn settle(&self, child: &Arc<Child>, generation: u64) -> bool {
        let gate = child.gate();
        // The run may be followed by the next before anybody looks.
        let ended = async || {
            tokio::select! {
                () = gate.down() => {}
                _ = gate.ran_again(generation) => {}
            }
        };
        if self.wait_until(child, ended()).await == Waited::Down {
            return true;
        }
        if child.ctx.snapshot().settings.grace.is_some() {
            return false;
        }
        child.abort();
        timeout(self.abort_wait, ended()).await.is_ok()
    }

    /// Ends all children for good: in reverse start order, each one's end awaited, or all at once.
    pub(super) async fn take_down_all(self: &Arc<Self>) {
        let mut children = self.children();
        children.reverse();
        self.tree().enter(ShutdownStage::GracefulDrain);
        match self.shutdown_order {
            ShutdownOrder::Reverse => {
                for (at, child) in children.iter().enumerate() {
                    if self.budget_spent() {
                        // What is left is ended together.
                        return self.take_down_together(&children[at..]).await;
                    }
                    self.take_down(child, StopCause::Shutdown).await;
                }
            }
            ShutdownOrder::Parallel => self.take_down_together(&children).await,
        }
    }

    async fn take_down_together(self: &Arc<Self>, children: &[Arc<Child>]) {
        let mut asked: Vec<_> = children
            .iter()
            .map(|child| (self.ask(child, StopCause::Shutdown), child))
            .collect();
        // Awaited in the order in which their time is up, so that none is aborted late.
        asked.sort_by_key(|(_, child)| child.gate().drop_at());
        for (ask, child) in asked {
            self.await_end(child, ask).await;
        }
    }

    /// Ends one child for good and notes how it took it.
    pub(super) async fn take_down(
        self: &Arc<Self>,
        child: &Arc<Child>,
        cause: StopCause,
    ) -> ChildShutdownStatus {
        let ask = self.ask(child, cause);
        self.await_end(child, ask).await
    }

    fn ask(&self, child: &Child, cause: StopCause) -> Ask {
        let gate = child.gate();
        let ask = Ask {
            was_alive: gate.is_active(),
            at: child.asked_to_stop(),
        };
        gate.end(cause, self.stop_request(child));
        ask
    }

    async fn await_end(&self, child: &Arc<Child>, ask: Ask) -> ChildShutdownStatus {
        if self.wait_until(child, child.over()).await == Waited::Late {
            self.tree().enter(ShutdownStage::AbortStragglers);
            child.abort();
            let _ = timeout(self.abort_wait, child.over()).await;
        }
        let snapshot = child.ctx.snapshot();
        let aborted = snapshot
            .last_exit
            .is_some_and(|last| last.exit == TaskExit::Aborted);
        let status = if !child.is_over() || !snapshot.helpers.is_empty() {
            ChildShutdownStatus::AbortFailed
        } else if !ask.was_alive {
            ChildShutdownStatus::AlreadyExited
        } else if aborted {
            ChildShutdownStatus::Aborted
        } else {
            ChildShutdownStatus::Graceful
        };
        if self.tree().is_closing() {
            self.announce(child, TreeEvent::ChildShutdown { status });
            let generation = child.gate().generation();
            let took = ask.at.elapsed();
            self.tree().note_shutdown(ChildShutdown {
                path: child.path(),
                generation,
                status,
                took,
            });
        }
        status
    }

    /// Waits for `down`, up to the end of the child's grace and what may follow it, or of the budget.
    async fn wait_until(&self, child: &Child, down: impl Future<Output = ()>) -> Waited {
        let mut down = std::pin::pin!(down);
        let mut budget = self.tree().budget();
        loop {
            let limit = self.limit(child, *budget.borrow_and_update());
            let late = async {
                match limit {
                    Some(limit) => sleep_until(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut down => return Waited::Down,
                changed = budget.changed() => {
                    // The tree outlives its children's tasks, and with it the sender.
                    if changed.is_err() {
                        return Waited::Late;
                    }
                }
                () = late => {
                    // The run may have asked for more time, or been given less, meanwhile.
                    if self.limit(child, *budget.borrow()) <= limit {
                        return Waited::Late;
                    }
                }
            }
        }
    }

    /// When waiting for a stopping child has no more sense.
    fn limit(&self, child: &Child, budget: Option<Instant>) -> Option<Instant> {
        let levels = child.height();
        if levels > 0 {
            // A supervisor has what the budget leaves, and ends its own children within it.
            return budget.map(|budget| budget + self.abort_wait * (levels + 1));
        }
        let own_grace = child.ctx.snapshot().settings.grace.is_some();
        let drop_at = child.gate().drop_at();
        // A run is dropped in its own task; only when that did not happen it has to be aborted.
        let by_grace = drop_at.map(|at| if own_grace { at + self.abort_wait } else { at });
        match (by_grace, budget) {
            (Some(grace), Some(budget)) => Some(grace.min(budget)),
            (grace, budget) => grace.or(budget),
        }
    }

    fn budget_spent(&self) -> bool {
        self.tree().budget_spent()
    }
}

struct Ask {
    was_alive: bool,
    at: Instant,
}
