use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

use super::{
    Slot,
    control::{Control, Hold, Phase},
};
use crate::{RestartType, StopCause};

/// The timer of a wait at the gate, made when a hold has an end.
pub(crate) type Wait = Option<Pin<Box<Sleep>>>;

/// Whether a run may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    Closed,
    End(StopCause),
}

/// Who may begin a run, and who waits until it may.
impl Slot {
    pub(super) fn admission(&self, control: &Control) -> Admission {
        if let Some(cause) = control.end {
            return Admission::End(cause);
        }
        if self.owner().is_some_and(|owner| owner.is_closing()) {
            return Admission::End(StopCause::Shutdown);
        }
        let parked = match control.phase {
            Phase::Idle | Phase::BackingOff { .. } => false,
            // Two runs of one child never overlap.
            Phase::Active | Phase::Joining { .. } => true,
            Phase::Ended(_) => !control.rerun,
        };
        if control.hold.is_some() || control.group_hold || parked {
            Admission::Closed
        } else {
            Admission::Open
        }
    }

    /// Whether a run may begin. While it may not, `cx` is woken when that changes.
    pub(crate) fn poll_gate(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Wait,
    ) -> Poll<Result<(), StopCause>> {
        let mut control = self.lock();
        loop {
            match self.admission(&control) {
                Admission::Open => return Poll::Ready(Ok(())),
                Admission::End(cause) => return Poll::Ready(Err(cause)),
                Admission::Closed => {}
            }
            let Some(Hold::Quarantined {
                until: Some(until), ..
            }) = control.hold.as_deref()
            else {
                control.waiters.register(cx.waker());
                return Poll::Pending;
            };
            let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*until)));
            if sleep.deadline() != *until {
                sleep.as_mut().reset(*until);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                control.waiters.register(cx.waker());
                return Poll::Pending;
            }
            self.release_locked(&mut control);
        }
    }

    /// Whether the gate that let a run pass has closed since; registers `cx` while it has not.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> bool {
        let mut control = self.lock();
        let closed = !matches!(self.admission(&control), Admission::Open);
        if !closed {
            control.waiters.register(cx.waker());
        }
        closed
    }

    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.peek().waiters.register(cx.waker());
    }

    /// Helpers that a dropped life left behind: no run begins before they have ended.
    pub(crate) fn leftovers(&self) -> Option<TaskTracker> {
        let mut control = self.lock();
        control.forget_helpers();
        control
            .helpers()
            .filter(|_| control.phase != Phase::Active)
            .map(|helpers| helpers.end())
    }

    /// A `RestartLayer` carries out this life's runs itself.
    pub(crate) fn manage(&self, restart: RestartType) {
        let mut control = self.lock();
        control.managed = true;
        control.publish(
            |settings| settings.restart == Some(restart),
            |settings| {
                settings.restart = Some(restart);
            },
        );
    }

    /// Takes over the run a context was made for, if it has just begun and may go on.
    pub(crate) fn adopt(&self, generation: u64) -> bool {
        let control = self.peek();
        control.runs(generation) && control.stop().is_none()
    }

    /// A life begins on a child whose life before has ended.
    pub(crate) fn live_again(&self) {
        let mut control = self.lock();
        control.rerun |= control.has_ended();
    }
}
