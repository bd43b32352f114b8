use std::sync::Arc;

use tokio::time::Instant;

use super::{
    super::{ChildSettings, ChildStatus, Grace, HoldReason, LastRun, LifeEnd, ReadinessPolicy},
    Slot,
    control::{Control, Hold, Phase},
    past::Last,
};
use crate::{StopCause, TaskExit, policy::Nanos};

/// A glance at a slot without copying it.
pub(crate) struct Look<'a> {
    slot: &'a Slot,
    control: &'a Control,
}

impl Slot {
    pub(crate) fn look<T>(&self, f: impl FnOnce(Look<'_>) -> T) -> T {
        f(Look::new(self, &self.peek()))
    }

    /// What is left of the last run, to be told of the child for the last time; `None`: it has been.
    pub(crate) fn take_last_word(&self) -> Option<LastRun> {
        let mut control = self.peek();
        let told = std::mem::replace(&mut control.told, true);
        (!told).then(|| Look::new(self, &control).last_run())
    }
}

impl<'a> Look<'a> {
    pub(super) fn new(slot: &'a Slot, control: &'a Control) -> Self {
        Self { slot, control }
    }
}

impl Look<'_> {
    pub(crate) fn status(&self) -> ChildStatus {
        self.control.status(self.slot)
    }

    pub(crate) fn correlation(&self) -> u64 {
        self.control.correlation
    }

    pub(crate) fn generation(&self) -> u64 {
        self.control.generation
    }

    /// The run is or was ready, or need not say so and has been polled.
    pub(crate) fn has_started(&self) -> bool {
        self.control.ready
            || (self.control.polled_once && self.control.readiness == ReadinessPolicy::Immediate)
    }

    /// The last run that has started, as [`has_started`](Self::has_started); it may be over.
    pub(crate) fn started(&self) -> u64 {
        self.control.started
    }

    /// A run lives, or what it left behind.
    pub(crate) fn is_active(&self) -> bool {
        self.control.is_alive()
    }

    pub(crate) fn life_end(&self) -> LifeEnd {
        self.control.life_end()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.control.is_over()
    }

    /// As `is_active`, without what the run left behind.
    pub(crate) fn is_running(&self) -> bool {
        self.control.phase == Phase::Active
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.control.stop().is_some()
    }

    /// Its stopper waits for the run no longer.
    pub(crate) fn is_lingering(&self) -> bool {
        self.control.lingering
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.control.managed
    }

    pub(crate) fn is_held(&self) -> bool {
        self.control.hold.is_some()
    }

    pub(crate) fn hold(&self) -> Option<HoldReason> {
        self.control.hold.as_deref().map(|hold| match hold {
            Hold::Paused => HoldReason::Paused,
            Hold::Quarantined { .. } => HoldReason::Quarantined,
        })
    }

    /// Held, or waiting for a sibling that is: no run begins before somebody releases one.
    pub(crate) fn is_kept_down(&self) -> bool {
        self.is_held() || self.waits_for().is_some()
    }

    pub(crate) fn waits_for(&self) -> Option<&Arc<str>> {
        self.control.waits_for()
    }

    /// No run of it has started, and one will without anybody's doing.
    pub(crate) fn is_coming(&self) -> bool {
        let up = self.is_active() && (self.has_started() || self.control.lingering);
        !up && !self.is_ended() && self.end().is_none()
    }

    pub(crate) fn waits_for_group(&self) -> bool {
        self.control.group_hold && !self.is_active()
    }

    pub(crate) fn failed_first_start(&self) -> bool {
        self.control.failed_first_start
    }

    pub(crate) fn end(&self) -> Option<StopCause> {
        self.control.end
    }

    /// How the last run ended, and when.
    pub(crate) fn last_end(&self) -> Option<(TaskExit, Nanos)> {
        self.control.past.last_end()
    }

    pub(crate) fn last_run(&self) -> LastRun {
        LastRun {
            generation: self.generation(),
            exit: self.last_end().map(|(exit, _)| exit),
            ended: self.last_end().map(|(_, at)| at),
            has_helpers: self.has_helpers(),
        }
    }

    /// All there is to know of that.
    pub(crate) fn last_exit(&self) -> Option<Last> {
        self.control.past.last()
    }

    pub(crate) fn settings(&self) -> Option<&ChildSettings> {
        self.control.settings.as_deref()
    }

    pub(crate) fn has_helpers(&self) -> bool {
        let helpers = self.control.helpers();
        helpers.is_some_and(|helpers| helpers.any_alive())
    }

    pub(crate) fn drop_at(&self) -> Option<(Instant, Grace)> {
        Some((self.slot.at(self.control.drop_at()?), self.control.grace()))
    }

    pub(crate) fn start_extended(&self) -> Option<Instant> {
        self.control.start_extended().map(|age| self.slot.at(age))
    }
}
