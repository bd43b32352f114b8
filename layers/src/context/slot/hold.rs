use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{Grace, HoldReason, LifecycleEvent, StopRequest},
    Slot,
    control::{Hold, Phase},
    locked::Locked,
    stop::{Stop, after},
};
use crate::StopCause;

/// What the gate does: stops a run, holds a child and lets it go, ends it.
impl Slot {
    pub(crate) fn stop_run(&self, cause: StopCause, request: &StopRequest) {
        self.stop_locked(&mut self.lock(), cause, request);
    }

    pub(super) fn stop_locked(
        &self,
        control: &mut Locked<'_>,
        cause: StopCause,
        request: &StopRequest,
    ) {
        if !control.is_alive() {
            return;
        }
        control.correlate(request.correlation);
        let asked = self.since_origin(request.at.unwrap_or_else(Instant::now));
        let stop = Stop::new(self, cause, asked, request);
        let cause = match control.past.stop_mut() {
            Some(pending) => {
                pending.raise(stop);
                pending.cause
            }
            None => {
                control.past.set_stop(stop);
                control.since = asked;
                cause
            }
        };
        if control.phase == Phase::Active {
            self.word.stops(control.generation, cause);
            if let Some(token) = control.rare.as_ref().and_then(|rare| rare.token.as_ref()) {
                token.cancel();
            }
        }
        control.stir();
    }

    pub(crate) fn pause(&self, request: &StopRequest) -> bool {
        let mut control = self.lock();
        if control.hold.is_some() {
            return false;
        }
        control.hold = Some(Box::new(Hold::Paused));
        let step = LifecycleEvent::Paused;
        self.held(&mut control, step, StopCause::Pause, request);
        true
    }

    pub(crate) fn quarantine(
        &self,
        reason: Arc<str>,
        release_after: Option<Duration>,
        request: &StopRequest,
    ) -> bool {
        let mut control = self.lock();
        if matches!(control.hold.as_deref(), Some(Hold::Quarantined { .. })) {
            return false;
        }
        control.hold = Some(Box::new(Hold::Quarantined {
            reason: reason.clone(),
            until: release_after.map(|time| after(Instant::now(), time)),
        }));
        let step = LifecycleEvent::Quarantined {
            reason,
            release_after,
        };
        self.held(&mut control, step, StopCause::Quarantine, request);
        true
    }

    fn held(
        &self,
        control: &mut Locked<'_>,
        step: LifecycleEvent,
        cause: StopCause,
        request: &StopRequest,
    ) {
        control.correlate(request.correlation);
        self.record(control, self.now(), &step);
        control.cut_backoff();
        if control.is_alive() {
            self.stop_locked(control, cause, request);
        } else {
            control.correlation = 0;
            control.stir();
        }
    }

    pub(crate) fn release(&self, correlation: u64) -> Option<HoldReason> {
        let mut control = self.lock();
        control.hold.as_ref()?;
        control.correlate(correlation);
        Some(self.release_locked(&mut control))
    }

    pub(super) fn release_locked(&self, control: &mut Locked<'_>) -> HoldReason {
        let from = match control.hold.take().as_deref() {
            Some(Hold::Quarantined { .. }) => HoldReason::Quarantined,
            _ => HoldReason::Paused,
        };
        let step = match from {
            HoldReason::Quarantined => LifecycleEvent::Released { from },
            HoldReason::Paused => LifecycleEvent::Resumed,
        };
        control.forget_history();
        self.record(control, self.now(), &step);
        control.stir();
        from
    }

    /// A restart by hand. `None`: the child is held or ending, or waits for one that is held, and nothing
    /// changed.
    pub(crate) fn restart(&self, request: &StopRequest) -> Option<()> {
        let mut control = self.lock();
        if control.hold.is_some() || control.end.is_some() || control.waits_for().is_some() {
            return None;
        }
        match control.phase {
            Phase::Active => {
                self.stop_locked(&mut control, StopCause::Restart, request);
                // Now, as a weightier stop may be pending. The run's end counts for nothing any more.
                control.forget_history();
            }
            Phase::Joining { .. } => {
                self.stop_locked(&mut control, StopCause::Restart, request);
                // The exit stands, and is decided before it is forgotten.
                control.rerun = true;
            }
            Phase::Idle | Phase::BackingOff { .. } | Phase::Ended(_) => {
                control.correlate(request.correlation);
                control.rerun |= control.has_ended();
                control.forget_history();
                control.since = self.now();
                control.stir();
            }
        }
        Some(())
    }

    pub(crate) fn end(&self, cause: StopCause, request: &StopRequest) -> Option<(Instant, Grace)> {
        let mut control = self.lock();
        control.end = control.end.max(Some(cause));
        control.correlate(request.correlation);
        if control.is_alive() {
            self.stop_locked(&mut control, cause, request);
        } else {
            control.stir();
        }
        Some((self.at(control.drop_at()?), control.grace()))
    }

    pub(crate) fn set_group_hold(&self, held: bool) {
        let mut control = self.lock();
        control.group_hold = held;
        control.waits_for_nobody();
        if held {
            control.cut_backoff();
        }
        // Whose run goes on comes to the gate when that has ended.
        match held && control.is_alive() {
            true => control.tell_watchers(),
            false => control.stir(),
        }
    }

    /// Its group goes on without it: it waits for a sibling that is held.
    pub(crate) fn wait_for(&self, sibling: Arc<str>) {
        let mut control = self.lock();
        if control.group_hold {
            control.rare().waits_for = Some(sibling);
            control.since = self.now();
            control.tell_watchers();
        }
    }

    pub(crate) fn set_lingering(&self) {
        let mut control = self.lock();
        if control.is_alive() {
            control.lingering = true;
            control.since = self.now();
            control.tell_watchers();
        }
    }

    pub(crate) fn correlate(&self, correlation: u64) {
        self.lock().correlate(correlation);
    }

    /// Makes the slot ready for another life of its supervisor: holds by a person and generations stay.
    pub(crate) fn reopen(&self, first_start: bool) {
        let mut control = self.lock();
        control.end = None;
        control.told = false;
        control.group_hold = false;
        control.waits_for_nobody();
        control.rerun = false;
        control.first_start = first_start;
        control.forget_history();
        if control.has_ended() {
            control.phase = Phase::Idle;
        }
    }
}
