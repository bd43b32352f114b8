use std::{
    sync::{Arc, TryLockError, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{ChildSettings, LifecycleEvent},
    PollWord, Slot,
    control::Phase,
    past::Charged,
};
use crate::{
    StopCause,
    observe::Meter,
    policy::{BackoffDelay, FuseReading, Nanos, RestartType},
    real_time::Moment,
};

/// A start that is under way; times are since the slot's origin.
pub(crate) struct StartPending {
    pub(crate) began: Nanos,
    /// Until when it asked for more time.
    pub(crate) extended: Option<Nanos>,
}

/// What the layers around a run tell, keep and ask.
impl Slot {
    pub(crate) fn publish(&self, settings: impl FnOnce(&mut ChildSettings)) {
        let mut control = self.peek();
        let told = control.settings.as_deref().copied();
        let mut new = told.unwrap_or_default();
        settings(&mut new);
        // Nearly always it is as it was, and others have the same.
        if told != Some(new) {
            control.settings = Some(Arc::new(new));
        }
    }

    /// All settings at once, shared by those that have the same.
    pub(crate) fn settings_are(&self, settings: &Arc<ChildSettings>) {
        let told = &mut self.peek().settings;
        if !told
            .as_ref()
            .is_some_and(|told| Arc::ptr_eq(told, settings))
        {
            *told = Some(settings.clone());
        }
    }

    pub(crate) fn memory<T: Default + Send + 'static, R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> R {
        self.peek().past.history().memory.with(key, f)
    }

    pub(crate) fn recall<T: Send + 'static, R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        self.peek().past.kept_mut()?.memory.find(key).map(f)
    }

    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        self.peek().past.kept()?.meter.clone()
    }

    pub(crate) fn keep_meter(&self, meter: Arc<Meter>) {
        self.peek().past.history().meter = Some(meter);
    }

    /// A blown fuse is the one that counts, where there are several.
    pub(crate) fn note_fuse(&self, fuse: FuseReading) {
        let mut control = self.peek();
        let charged = control.charged_mut();
        let noted = &mut charged.notes.fuse;
        if noted.is_none_or(|noted| fuse.blown || !noted.blown) {
            *noted = Some(fuse);
        }
        charged.fuse = *noted;
    }

    pub(crate) fn note_backoff(&self, delay: BackoffDelay) {
        self.peek().charged_mut().notes.backoff = Some(delay);
    }

    /// Notes a hold if the fuse blew.
    pub(crate) fn note_quarantine(&self, release_after: Option<Duration>) {
        let mut control = self.peek();
        let blown = |charged: &Charged| charged.notes.fuse.is_some_and(|fuse| fuse.blown);
        if control.charged().is_some_and(blown) {
            control.charged_mut().notes.quarantine = Some(release_after);
        }
    }

    pub(crate) fn note_poll(&self, nanos: u64, slow: bool) {
        self.polls.note(nanos, slow);
    }

    pub(crate) fn poll_word(&self) -> &PollWord {
        &self.poll
    }

    /// Where the monitor has put it; said and asked with the monitor's door held.
    pub(crate) fn set_place(&self, place: u32) {
        self.place.store(place, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    /// Tells, once, that the poll now running has been running for too long. Answers of which run it is,
    /// and how long it has.
    pub(crate) fn note_stuck(&self, now: Moment, after: Duration) -> Option<(u64, Duration)> {
        self.poll.overdue(now.nanos(), after)?;
        let mut control = match self.control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It may be this very poll that holds the lock; who looks at all children waits for none.
            Err(TryLockError::WouldBlock) => return None,
        };
        // Not after the run's end has been told.
        if control.phase != Phase::Active {
            return None;
        }
        let lasts = self.poll.report(now.nanos(), after)?;
        let since = control.since;
        let stuck = LifecycleEvent::Stuck { lasts };
        self.record(&mut control, self.now(), &stuck);
        // It is no other status.
        control.since = since;
        Some((control.generation, lasts))
    }

    pub(super) fn stuck(&self) -> Option<Duration> {
        let since = self.poll.stuck_since()?;
        Some(Duration::from_nanos(Moment::at(since).elapsed()))
    }

    pub(crate) fn counts(&self, generation: u64, completed: bool) -> bool {
        if self
            .stop_cause(generation)
            .is_some_and(StopCause::is_foreign)
        {
            return false;
        }
        if !completed {
            return true;
        }
        let control = self.peek();
        control.setting(|settings| settings.restart) == Some(RestartType::Permanent)
            && self.now().saturating_sub(control.began) < control.healthy_time()
    }

    pub(crate) fn ran_for(&self) -> Duration {
        self.now().saturating_sub(self.peek().began)
    }

    /// The same, and where to count it, if that was looked up already.
    pub(crate) fn ran_for_on(&self) -> (Duration, Option<Arc<Meter>>) {
        let now = self.now();
        let control = self.peek();
        let meter = control
            .past
            .kept()
            .and_then(|history| history.meter.clone());
        (now.saturating_sub(control.began), meter)
    }

    /// When the run last showed a sign of life; its beginning, if it has not yet.
    pub(crate) fn last_beat(&self) -> Instant {
        let control = self.peek();
        self.at(control.beat.unwrap_or(control.began))
    }

    /// Whether the run still has to become ready, and until when it asked for more time.
    pub(crate) fn start_pending(&self) -> Option<StartPending> {
        let control = self.peek();
        (!control.ready && control.stop().is_none()).then_some(StartPending {
            began: control.began,
            extended: control.start_extended(),
        })
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.peek().setting(|settings| settings.grace).is_some()
    }
}
