use std::{
    panic::Location,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    super::{LifecycleEvent, ReadinessPolicy, StopRequest},
    Slot,
    admission::Admission,
    control::Phase,
    locked::Locked,
};
use crate::{StopCause, policy::Nanos};

/// A run from its beginning to the end of its helpers. Each of these is said of one generation: what an old
/// run says of itself moves nothing.
impl Slot {
    /// Begins the next run, unless the gate has closed.
    pub(crate) fn begin_run(&self, now: Nanos) -> Option<u64> {
        let mut control = self.lock();
        if !matches!(self.admission(&control), Admission::Open) {
            return None;
        }
        if std::mem::take(&mut control.rerun) {
            control.forget_history();
        }
        control.generation += 1;
        control.attempt = control.attempt.saturating_add(1);
        control.phase = Phase::Active;
        control.began = now;
        control.ready = false;
        control.polled_once = false;
        control.beat = None;
        if let Some(rare) = &mut control.rare {
            rare.start_extended = None;
            rare.token = None;
        }
        // What came since the last one ended was for that one.
        control.take_stop();
        control.take_notes();
        control.lingering = false;
        self.word.runs(control.generation);
        self.record(&mut control, now, &LifecycleEvent::Starting);
        control.tell_watchers();
        Some(control.generation)
    }

    /// The run was polled once and goes on.
    pub(crate) fn pending(&self, generation: u64) {
        let mut control = self.lock();
        if control.generation != generation {
            return;
        }
        control.polled_once = true;
        if control.readiness == ReadinessPolicy::Immediate {
            self.now_ready(&mut control);
        }
    }

    /// The life was polled once and goes on; whether its run does, the `RestartLayer` inside knows.
    pub(crate) fn life_pending(&self) {
        let mut control = self.lock();
        if control.phase != Phase::Active {
            return;
        }
        control.polled_once = true;
        if control.readiness == ReadinessPolicy::Immediate {
            // It counts as started: what happens to it from now on is no failed start.
            control.first_start = false;
            control.started = control.generation;
        }
        control.tell_watchers();
    }

    pub(crate) fn mark_ready(&self, generation: u64) {
        let mut control = self.lock();
        if control.generation == generation {
            self.now_ready(&mut control);
        }
    }

    fn now_ready(&self, control: &mut Locked<'_>) {
        if control.phase != Phase::Active || control.ready {
            return;
        }
        control.ready = true;
        control.first_start = false;
        control.started = control.generation;
        let now = self.now();
        control.beat = Some(now);
        self.record(control, now, &LifecycleEvent::Ready);
        if control.stop().is_none() {
            control.correlation = 0;
        }
        control.tell_watchers();
    }

    pub(crate) fn heartbeat(&self, generation: u64) {
        let mut control = self.lock();
        if control.generation == generation {
            control.beat = Some(self.now());
        }
    }

    pub(crate) fn heartbeat_interval(&self) -> Option<Duration> {
        let control = self.peek();
        control.settings.as_ref()?.heartbeat_interval
    }

    pub(crate) fn extend_start(&self, generation: u64, more: Duration) {
        let mut control = self.lock();
        if control.generation == generation {
            let until = self.now().saturating_add(more.into());
            let extended = &mut control.rare().start_extended;
            *extended = (*extended).max(Some(until));
        }
    }

    pub(crate) fn extend_stop(&self, generation: u64, more: Duration) {
        let mut control = self.lock();
        if control.generation == generation && control.stop().is_some() {
            let until = self.now().saturating_add(more.into());
            let extended = &mut control.rare().stop_extended;
            *extended = (*extended).max(Some(until));
            // Whoever waits for the old deadline looks again.
            control.tell_watchers();
        }
    }

    /// The child's own stop: it is unhealthy.
    pub(crate) fn unhealthy(&self, generation: u64, reason: Arc<str>) {
        let mut control = self.lock();
        if control.runs(generation) && control.stop().is_none() {
            let step = LifecycleEvent::Unhealthy { reason };
            self.record(&mut control, self.now(), &step);
            self.stop_locked(&mut control, StopCause::Unhealthy, &StopRequest::default());
        }
    }

    /// Whether the run is to stop; `cx` is woken when it is.
    pub(crate) fn poll_stopped(&self, cx: &Context<'_>, generation: u64) -> bool {
        // In this order: a stop in between is seen.
        self.register(cx);
        self.is_cancelled(generation)
    }

    /// Registers `cx` for a stop of the run, or tells when a stopping one is to be dropped.
    pub(crate) fn poll_stop(
        &self,
        cx: &Context<'_>,
        generation: u64,
        grace: Duration,
    ) -> Poll<Instant> {
        let mut control = self.lock();
        control.waiters.register(cx.waker());
        if control.generation != generation {
            return Poll::Pending;
        }
        // A stop always has an end here: the grace is one.
        match control.drop_after(Some(grace)) {
            Some(drop_at) => Poll::Ready(self.at(drop_at)),
            None => Poll::Pending,
        }
    }

    pub(crate) fn helper<T: Send + 'static>(
        &self,
        generation: u64,
        place: &'static Location<'static>,
        blocking: bool,
        spawn: impl FnOnce(&TaskTracker) -> JoinHandle<T>,
    ) -> JoinHandle<T> {
        let tracker = {
            let mut control = self.lock();
            let lives = control.runs(generation);
            lives.then(|| {
                let tracker = control.rare().helpers.get_or_insert_default().tracker();
                // Whoever ends the run meanwhile waits for a helper that is about to be there.
                (tracker.clone(), tracker.token())
            })
        };
        let Some((tracker, _announced)) = tracker else {
            drop(spawn);
            let never = tokio::spawn(std::future::pending());
            never.abort();
            return never;
        };
        // Not with the lock held: a runtime that shuts down drops the task at once, and what is dropped
        // may ask this context.
        let task = spawn(&tracker);
        let mut control = self.lock();
        let lives = control.runs(generation);
        match control.rare().helpers.as_mut().filter(|_| lives) {
            Some(helpers) => helpers.enter(place, blocking, task.abort_handle()),
            None => task.abort(),
        }
        drop(control);
        task
    }

    /// Ends the run's helpers; answers what their end is awaited by, if any lives.
    pub(crate) fn end_helpers(&self, generation: u64) -> Option<TaskTracker> {
        // Most runs have none, and change nothing here.
        self.peek().helpers()?;
        let mut control = self.lock();
        if control.generation != generation {
            return None;
        }
        let tracker = control.helpers()?.end();
        if tracker.is_empty() {
            control.forget_helpers();
            return None;
        }
        if control.phase == Phase::Active {
            let stopped = control.stop_cause();
            control.phase = Phase::Joining { stopped };
            control.since = self.now();
            // What cannot be aborted must see that the run is over. A stop's cause stays to be read.
            if stopped.is_none() {
                self.word.over(generation);
            }
            control.cancel_token();
            control.tell_of_end();
        }
        Some(tracker)
    }
}
