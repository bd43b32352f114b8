use std::{
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::Notified},
    task::JoinHandle,
    time::{Instant, Sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ChildSettings, ChildSnapshot, ChildStatus, ContextSpec, HoldReason, LastExit, LifecycleEvent,
    Owner, PollStatistics, ReadinessPolicy, RunId,
    gate::{Admission, StopRequest},
    helpers::Helpers,
    memory::Memory,
};
use crate::{
    StopCause, TaskExit, TaskFailure,
    policy::{
        BackoffDelay, ExitFacts, FuseReading, RestartAction, RestartDecision, RestartType, decide,
    },
};

/// The timer of a wait at the gate, made when a hold has an end.
pub(crate) type Wait = Option<Pin<Box<Sleep>>>;

/// A stop word's low bits: 0 runs, a [`StopCause`], or this.
const OVER: u64 = 0xF;
const CAUSE_BITS: u32 = 4;

/// One child's state: written by its runs and its gate, read by everybody.
pub(crate) struct Slot {
    path: Arc<str>,
    instance: u64,
    owner: Option<Arc<dyn Owner>>,
    born: Instant,
    /// Generation and stop cause of the current run in one word, for `is_cancelled`. Written with the
    /// control locked.
    stop: AtomicU64,
    polls: AtomicU64,
    slow_polls: AtomicU64,
    busy_nanos: AtomicU64,
    longest_nanos: AtomicU64,
    changed: Notify,
    control: Mutex<Control>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// At the gate.
    Idle,
    BackingOff {
        until: Instant,
    },
    /// A run lives.
    Active,
    /// The run ended, helpers of it live.
    Joining,
    /// The life ended.
    Ended(End),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Finished,
    Failed,
    Aborted,
}

enum Hold {
    Paused,
    Quarantined {
        reason: Arc<str>,
        until: Option<Instant>,
    },
}

struct Stop {
    cause: StopCause,
    asked: Instant,
    deadline: Option<Instant>,
    cap: Option<Instant>,
    extended: Option<Instant>,
}

/// What the layers noted of the run that is ending.
#[derive(Default)]
struct Notes {
    fuse: Option<FuseReading>,
    backoff: Option<BackoffDelay>,
    quarantine: Option<Option<Duration>>,
}

struct Control {
    phase: Phase,
    generation: u64,
    attempt: u32,
    since: Instant,
    began: Instant,
    readiness: ReadinessPolicy,
    ready: bool,
    polled_once: bool,
    grouped: bool,
    first_start: bool,
    stop: Option<Stop>,
    end: Option<StopCause>,
    hold: Option<Hold>,
    group_hold: bool,
    rerun: bool,
    lingering: bool,
    managed: bool,
    start_extended: Option<Instant>,
    beat: Option<Instant>,
    notes: Notes,
    fuse: Option<FuseReading>,
    last_exit: Option<Box<LastExit>>,
    exits: [u64; 7],
    memory: Memory,
    settings: Option<Box<ChildSettings>>,
    helpers: Option<Box<Helpers>>,
    token: Option<CancellationToken>,
    wakers: Vec<Waker>,
    sequence: u64,
    correlation: u64,
}

impl Control {
    fn register(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn forget_history(&mut self) {
        self.memory.clear();
        self.attempt = 0;
        self.fuse = None;
        self.notes = Notes::default();
        if let Phase::BackingOff { .. } = self.phase {
            self.phase = Phase::Idle;
        }
    }

    fn status(&self) -> ChildStatus {
        if self.lingering && matches!(self.phase, Phase::Active | Phase::Joining) {
            return ChildStatus::Lingering;
        }
        match (self.phase, &self.stop) {
            (Phase::Active, Some(stop)) => {
                return ChildStatus::Stopping {
                    cause: Some(stop.cause),
                };
            }
            (Phase::Active, None) if self.ready => return ChildStatus::Running,
            (Phase::Active, None) => return ChildStatus::Starting,
            (Phase::Joining, stop) => {
                return ChildStatus::Stopping {
                    cause: stop.as_ref().map(|stop| stop.cause),
                };
            }
            _ => {}
        }
        match (&self.hold, self.phase) {
            (Some(Hold::Paused), _) => ChildStatus::Paused,
            (Some(Hold::Quarantined { reason, until }), _) => ChildStatus::Quarantined {
                reason: reason.clone(),
                until: *until,
            },
            (None, Phase::BackingOff { until }) => ChildStatus::BackingOff { until },
            (None, Phase::Ended(End::Finished)) => ChildStatus::Finished,
            (None, Phase::Ended(End::Failed)) => ChildStatus::Failed,
            (None, Phase::Ended(End::Aborted)) => ChildStatus::Aborted,
            (None, _) => ChildStatus::Waiting,
        }
    }
}

impl Slot {
    pub(super) fn new(path: Arc<str>, owner: Option<Arc<dyn Owner>>, spec: ContextSpec) -> Self {
        let born = Instant::now();
        Self {
            path,
            instance: spec.instance,
            owner,
            born,
            stop: AtomicU64::new(spec.generation << CAUSE_BITS | OVER),
            polls: AtomicU64::new(0),
            slow_polls: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            longest_nanos: AtomicU64::new(0),
            changed: Notify::new(),
            control: Mutex::new(Control {
                phase: Phase::Idle,
                generation: spec.generation,
                attempt: 0,
                since: born,
                began: born,
                readiness: spec.readiness,
                ready: false,
                polled_once: false,
                grouped: spec.grouped,
                first_start: false,
                stop: None,
                end: None,
                hold: None,
                group_hold: false,
                rerun: false,
                lingering: false,
                managed: false,
                start_extended: None,
                beat: None,
                notes: Notes::default(),
                fuse: None,
                last_exit: None,
                exits: [0; 7],
                memory: Memory::default(),
                settings: None,
                helpers: None,
                token: None,
                wakers: Vec::new(),
                sequence: 0,
                correlation: 0,
            }),
        }
    }

    /// No code of the user runs with the lock held, save the `Default` of a layer's memory; a panic there
    /// leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, control: &mut Control, steps: &[LifecycleEvent]) {
        control.since = Instant::now();
        if let Some(owner) = &self.owner {
            let recorded = owner.record(self.run_id(control), steps, control.correlation);
            control.sequence = recorded.sequence;
            control.correlation = recorded.correlation;
        }
    }

    fn run_id<'a>(&'a self, control: &Control) -> RunId<'a> {
        RunId {
            path: &self.path,
            instance: self.instance,
            generation: control.generation,
            attempt: control.attempt,
        }
    }

    // What a context asks.

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn instance(&self) -> u64 {
        self.instance
    }

    pub(super) fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.owner.as_ref()
    }

    pub(super) fn attempt(&self) -> u32 {
        self.lock().attempt
    }

    pub(super) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    pub(super) fn is_cancelled(&self, generation: u64) -> bool {
        self.stop.load(Ordering::Acquire) != generation << CAUSE_BITS
    }

    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn stop_cause(&self, generation: u64) -> Option<StopCause> {
        let word = self.stop.load(Ordering::Acquire);
        (word >> CAUSE_BITS == generation)
            .then(|| StopCause::from_bits(word & OVER))
            .flatten()
    }

    pub(super) fn stop_deadline(&self, generation: u64) -> Option<Instant> {
        let control = self.lock();
        let grace = control
            .settings
            .as_ref()
            .and_then(|settings| settings.grace);
        let stop = control
            .stop
            .as_ref()
            .filter(|_| control.generation == generation)?;
        stop.drop_at(grace)
    }

    pub(super) fn cancellation_token(&self, generation: u64) -> CancellationToken {
        let mut control = self.lock();
        if self.is_cancelled(generation) {
            let token = CancellationToken::new();
            token.cancel();
            return token;
        }
        control.token.get_or_insert_default().child_token()
    }

    pub(super) fn mark_ready(&self, generation: u64) {
        let mut control = self.lock();
        if control.generation == generation && control.phase == Phase::Active && !control.ready {
            self.now_ready(&mut control);
        }
    }

    fn now_ready(&self, control: &mut Control) {
        control.ready = true;
        control.first_start = false;
        control.beat = Some(Instant::now());
        self.record(control, &[LifecycleEvent::Ready]);
        if control.stop.is_none() {
            control.correlation = 0;
        }
        self.changed.notify_waiters();
    }

    pub(super) fn heartbeat(&self, generation: u64) {
        let mut control = self.lock();
        if control.generation == generation {
            control.beat = Some(Instant::now());
        }
    }

    pub(super) fn extend_start(&self, generation: u64, more: Duration) {
        let mut control = self.lock();
        if control.generation == generation {
            control.start_extended = control
                .start_extended
                .max(Some(after(Instant::now(), more)));
        }
    }

    pub(super) fn extend_stop(&self, generation: u64, more: Duration) {
        let mut control = self.lock();
        if control.generation == generation
            && let Some(stop) = &mut control.stop
        {
            stop.extended = stop.extended.max(Some(after(Instant::now(), more)));
            // Whoever waits for the old deadline looks again.
            self.changed.notify_waiters();
        }
    }

    pub(super) fn helper<T: Send + 'static>(
        &self,
        generation: u64,
        place: &'static Location<'static>,
        blocking: bool,
        spawn: impl FnOnce(&TaskTracker) -> JoinHandle<T>,
    ) -> JoinHandle<T> {
        let tracker = {
            let mut control = self.lock();
            let lives = control.generation == generation && control.phase == Phase::Active;
            lives.then(|| control.helpers.get_or_insert_default().tracker().clone())
        };
        let Some(tracker) = tracker else {
            drop(spawn);
            let never = tokio::spawn(std::future::pending());
            never.abort();
            return never;
        };
        // Not with the lock held: a runtime that shuts down drops the task at once, and what is dropped
        // may ask this context.
        let task = spawn(&tracker);
        let mut control = self.lock();
        let lives = control.generation == generation && control.phase == Phase::Active;
        match control.helpers.as_mut().filter(|_| lives) {
            Some(helpers) => helpers.enter(place, blocking, task.abort_handle()),
            None => task.abort(),
        }
        drop(control);
        task
    }

    pub(super) fn publish(&self, settings: impl FnOnce(&mut ChildSettings)) {
        settings(self.lock().settings.get_or_insert_default());
    }

    pub(super) fn memory<T: Default + Send + 'static, R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> R {
        self.lock().memory.with(key, f)
    }

    pub(super) fn recall<T: Send + 'static, R>(
        &self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        self.lock().memory.find(key).map(f)
    }

    pub(super) fn counts(&self, generation: u64, completed: bool) -> bool {
        if self
            .stop_cause(generation)
            .is_some_and(StopCause::is_foreign)
        {
            return false;
        }
        if !completed {
            return true;
        }
        let control = self.lock();
        let settings = control.settings.as_deref();
        settings.and_then(|settings| settings.restart) == Some(RestartType::Permanent)
            && control.began.elapsed() < healthy_time(settings)
    }

    pub(super) fn snapshot(&self) -> ChildSnapshot {
        let control = self.lock();
        ChildSnapshot {
            status: control.status(),
            ready: control.ready && control.phase == Phase::Active,
            generation: control.generation,
            attempt: control.attempt,
            since: control.since,
            last_exit: control.last_exit.as_deref().cloned(),
            exits: control.exits,
            fuse: control.fuse,
            heartbeat_age: control
                .beat
                .filter(|_| control.phase == Phase::Active)
                .map(|beat| beat.elapsed()),
            polls: self.poll_statistics(),
            settings: control.settings.as_deref().cloned().unwrap_or_default(),
            helpers: control
                .helpers
                .iter()
                .flat_map(|helpers| helpers.alive())
                .collect(),
            sequence: control.sequence,
        }
    }

    // What the layers note.

    pub(crate) fn note_fuse(&self, fuse: FuseReading) {
        let mut control = self.lock();
        if control
            .notes
            .fuse
            .is_none_or(|noted| fuse.blown || !noted.blown)
        {
            control.notes.fuse = Some(fuse);
        }
        control.fuse = control.notes.fuse;
    }

    pub(crate) fn note_backoff(&self, delay: BackoffDelay) {
        self.lock().notes.backoff = Some(delay);
    }

    /// Notes a hold if the fuse blew.
    pub(crate) fn note_quarantine(&self, release_after: Option<Duration>) {
        let mut control = self.lock();
        if control.notes.fuse.is_some_and(|fuse| fuse.blown) {
            control.notes.quarantine = Some(release_after);
        }
    }

    pub(crate) fn note_poll(&self, took: Duration, slow: bool) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.busy_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        if slow {
            self.slow_polls.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll_statistics(&self) -> PollStatistics {
        PollStatistics {
            polls: self.polls.load(Ordering::Relaxed),
            slow: self.slow_polls.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest_nanos.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn ran_for(&self) -> Duration {
        self.lock().began.elapsed()
    }

    /// When the run last showed a sign of life; its beginning, if it has not yet.
    pub(crate) fn last_beat(&self) -> Instant {
        let control = self.lock();
        control.beat.unwrap_or(control.began)
    }

    /// Whether the run still has to become ready, and until when it asked for more time.
    pub(crate) fn start_pending(&self) -> Option<Option<Instant>> {
        let control = self.lock();
        (!control.ready && control.stop.is_none()).then_some(control.start_extended)
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.lock()
            .settings
            .as_ref()
            .is_some_and(|settings| settings.grace.is_some())
    }

    // The life of a run.

    /// A `RestartLayer` carries out this life's runs itself.
    pub(crate) fn manage(&self) {
        self.lock().managed = true;
    }

    /// Takes over the run a context was made for, if it has just begun and may go on.
    pub(crate) fn adopt(&self, generation: u64) -> bool {
        let control = self.lock();
        control.generation == generation && control.phase == Phase::Active && control.stop.is_none()
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
            }) = control.hold
            else {
                control.register(cx.waker());
                return Poll::Pending;
            };
            let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                control.register(cx.waker());
                return Poll::Pending;
            }
            self.release_locked(&mut control);
        }
    }

    fn admission(&self, control: &Control) -> Admission {
        if let Some(cause) = control.end {
            return Admission::End(cause);
        }
        if self.owner.as_ref().is_some_and(|owner| owner.is_closing()) {
            return Admission::End(StopCause::Shutdown);
        }
        let parked = match control.phase {
            Phase::Idle | Phase::BackingOff { .. } => false,
            // Two runs of one child never overlap.
            Phase::Active | Phase::Joining => true,
            Phase::Ended(_) => !control.rerun,
        };
        if control.hold.is_some() || control.group_hold || parked {
            Admission::Closed
        } else {
            Admission::Open
        }
    }

    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.lock().register(cx.waker());
    }

    /// Whether the run is to stop; `cx` is woken when it is.
    pub(crate) fn poll_stopped(&self, cx: &Context<'_>, generation: u64) -> bool {
        // In this order: a stop in between is seen.
        self.register(cx);
        self.is_cancelled(generation)
    }

    /// A life begins on a child whose life before has ended.
    pub(crate) fn live_again(&self) {
        let mut control = self.lock();
        control.rerun |= matches!(control.phase, Phase::Ended(_));
    }

    /// Helpers that a dropped life left behind.
    pub(crate) fn leftovers(&self) -> Option<TaskTracker> {
        let mut control = self.lock();
        control.helpers.take_if(|helpers| helpers.is_empty());
        control
            .helpers
            .as_ref()
            .filter(|_| control.phase != Phase::Active)
            .map(|helpers| helpers.end())
    }

    /// Whether the gate that let a run pass has closed since; registers `cx` while it has not.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> bool {
        let mut control = self.lock();
        let closed = !matches!(self.admission(&control), Admission::Open);
        if !closed {
            control.register(cx.waker());
        }
        closed
    }

    /// Begins the next run, unless the gate has closed.
    pub(crate) fn begin_run(&self) -> Option<u64> {
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
        control.began = Instant::now();
        control.ready = false;
        control.polled_once = false;
        control.stop = None;
        control.start_extended = None;
        control.beat = None;
        control.notes = Notes::default();
        control.token = None;
        control.lingering = false;
        control.wakers.clear();
        self.stop
            .store(control.generation << CAUSE_BITS, Ordering::Release);
        self.record(&mut control, &[LifecycleEvent::Starting]);
        self.changed.notify_waiters();
        Some(control.generation)
    }

    /// The run was polled once and goes on.
    pub(crate) fn pending(&self, generation: u64) {
        let mut control = self.lock();
        if control.generation != generation {
            return;
        }
        control.polled_once = true;
        if control.readiness == ReadinessPolicy::Immediate
            && control.phase == Phase::Active
            && !control.ready
        {
            self.now_ready(&mut control);
        }
    }

    /// The life was polled once and goes on; whether its run does, the `RestartLayer` inside knows.
    pub(crate) fn life_pending(&self) {
        self.lock().polled_once = true;
        self.changed.notify_waiters();
    }

    /// The child's own stop: it is unhealthy.
    pub(crate) fn unhealthy(&self, generation: u64, reason: Arc<str>) {
        let mut control = self.lock();
        if control.generation == generation
            && control.phase == Phase::Active
            && control.stop.is_none()
        {
            self.record(&mut control, &[LifecycleEvent::Unhealthy { reason }]);
            self.stop_locked(&mut control, StopCause::Unhealthy, &StopRequest::default());
        }
    }

    /// Registers `cx` for a stop of the run, or tells when a stopping one is to be dropped.
    pub(crate) fn poll_stop(
        &self,
        cx: &mut Context<'_>,
        generation: u64,
        grace: Duration,
    ) -> Poll<Instant> {
        let mut control = self.lock();
        control.register(cx.waker());
        match &control.stop {
            // A stop always has an end here: the grace is one.
            Some(stop) if control.generation == generation => {
                stop.drop_at(Some(grace)).map_or(Poll::Pending, Poll::Ready)
            }
            _ => Poll::Pending,
        }
    }

    /// Ends the run's helpers; answers what their end is awaited by, if any lives.
    pub(crate) fn end_helpers(&self, generation: u64) -> Option<TaskTracker> {
        let mut control = self.lock();
        if control.generation != generation {
            return None;
        }
        let tracker = control.helpers.as_ref()?.end();
        if tracker.is_empty() {
            control.helpers = None;
            return None;
        }
        if control.phase == Phase::Active {
            control.phase = Phase::Joining;
            // What cannot be aborted must see that the run is over. A stop's cause stays to be read.
            if control.stop.is_none() {
                self.stop
                    .store(generation << CAUSE_BITS | OVER, Ordering::Release);
            }
            if let Some(token) = control.token.take() {
                token.cancel();
            }
            self.changed.notify_waiters();
        }
        Some(tracker)
    }

    /// Ends the run: reads the notes, decides, and leaves the slot as the decision says.
    ///
    /// `None` when that run is not the current one or has ended already.
    pub(crate) fn end_run(
        &self,
        generation: u64,
        result: Result<(), &TaskFailure>,
        restart: RestartType,
    ) -> Option<RestartDecision> {
        let mut control = self.lock();
        if control.generation != generation
            || !matches!(control.phase, Phase::Active | Phase::Joining)
        {
            return None;
        }
        let now = Instant::now();
        let stop = control.stop.take().map(|stop| stop.cause);
        let exit = match result {
            Ok(()) if stop.is_some_and(StopCause::is_foreign) => TaskExit::Cancelled,
            Ok(()) if stop.is_some() => TaskExit::Unhealthy,
            Ok(()) => TaskExit::Completed,
            Err(failure) => failure.exit(),
        };
        let message = result.err().map(|failure| failure.message().clone());
        let notes = std::mem::take(&mut control.notes);
        let first_start = std::mem::take(&mut control.first_start);
        let settings = control.settings.as_deref();
        let facts = ExitFacts {
            restart,
            exit,
            fatal: result.is_err_and(TaskFailure::is_fatal),
            stop,
            first_start: first_start && !control.ready,
            fuse: notes.fuse,
            has_fuse: settings.is_some_and(|settings| settings.fuse.is_some()),
            backoff: notes.backoff,
            quarantine: notes.quarantine,
            grouped: control.grouped,
        };
        if now - control.began >= healthy_time(settings) {
            control.attempt = 0;
        }
        let admit = || {
            self.owner
                .as_ref()
                .is_none_or(|owner| owner.admit_restart())
        };
        let decision = decide(&facts, admit);

        control.exits[exit as usize] += 1;
        control.ready = false;
        control.helpers.take_if(|helpers| helpers.is_empty());
        control.lingering = false;
        if let Some(token) = control.token.take() {
            token.cancel();
        }
        self.stop
            .store(generation << CAUSE_BITS | OVER, Ordering::Release);
        let mut steps = vec![LifecycleEvent::Exited {
            exit,
            message: message.clone(),
        }];
        if let Some(fuse) = notes.fuse {
            steps.push(LifecycleEvent::FuseCharged { fuse });
            if fuse.blown {
                steps.push(LifecycleEvent::FuseBlown { fuse });
            }
        }
        steps.push(LifecycleEvent::RestartDecided { decision });
        control.last_exit = Some(Box::new(LastExit {
            generation,
            exit,
            message,
            decision: Some(decision),
            at: now,
        }));
        self.follow(&mut control, &decision, now, &mut steps);
        self.record(&mut control, &steps);
        if !matches!(control.phase, Phase::Idle | Phase::BackingOff { .. })
            || control.hold.is_some()
        {
            control.correlation = 0;
        }
        control.wake();
        self.changed.notify_waiters();
        let run = self.run_id(&control);
        drop(control);
        if let Some(owner) = &self.owner {
            owner.decided(run, &decision);
        }
        Some(decision)
    }

    fn follow(
        &self,
        control: &mut Control,
        decision: &RestartDecision,
        now: Instant,
        steps: &mut Vec<LifecycleEvent>,
    ) {
        control.phase = match decision.action {
            RestartAction::Restart { delay } if delay.is_zero() => Phase::Idle,
            RestartAction::Restart { delay } => {
                steps.push(LifecycleEvent::BackingOff { delay });
                Phase::BackingOff {
                    until: after(now, delay),
                }
            }
            RestartAction::RestartGroup { .. } => {
                control.group_hold = true;
                Phase::Idle
            }
            RestartAction::Quarantine { release_after } => {
                let reason: Arc<str> = match decision.fuse {
                    Some(fuse) => format!(
                        "fuse blown: more than {} in {:?}",
                        fuse.limit.failures, fuse.limit.window
                    )
                    .into(),
                    None => "fuse blown".into(),
                };
                steps.push(LifecycleEvent::Quarantined {
                    reason: reason.clone(),
                    release_after,
                });
                let until = release_after.map(|time| after(now, time));
                control.hold = Some(Hold::Quarantined { reason, until });
                Phase::Idle
            }
            RestartAction::Finish => Phase::Ended(End::Finished),
            RestartAction::Fail if decision.exit == TaskExit::Aborted => Phase::Ended(End::Aborted),
            RestartAction::Fail | RestartAction::GiveUp | RestartAction::Escalate => {
                Phase::Ended(End::Failed)
            }
            RestartAction::Stop {
                cause: StopCause::Restart,
            } => {
                control.forget_history();
                Phase::Idle
            }
            RestartAction::Stop { .. } => Phase::Idle,
        };
    }

    /// The life is over: nothing but a restart by hand brings another run.
    pub(crate) fn end_life(&self, failed: bool) {
        let mut control = self.lock();
        control.managed = false;
        if matches!(control.phase, Phase::Idle | Phase::BackingOff { .. }) {
            let aborted = control
                .last_exit
                .as_ref()
                .is_some_and(|last| last.exit == TaskExit::Aborted);
            control.phase = Phase::Ended(match (aborted, failed) {
                (true, _) => End::Aborted,
                (false, true) => End::Failed,
                (false, false) => End::Finished,
            });
            control.since = Instant::now();
            self.changed.notify_waiters();
        }
    }

    // What the gate does.

    fn stop_locked(&self, control: &mut Control, cause: StopCause, request: &StopRequest) {
        if !matches!(control.phase, Phase::Active | Phase::Joining) {
            return;
        }
        match &mut control.stop {
            Some(stop) => {
                stop.cause = stop.cause.max(cause);
                stop.deadline = earlier(stop.deadline, request.deadline);
                stop.cap = earlier(stop.cap, request.cap);
            }
            None => {
                control.stop = Some(Stop {
                    cause,
                    asked: Instant::now(),
                    deadline: request.deadline,
                    cap: request.cap,
                    extended: None,
                });
                control.since = Instant::now();
            }
        }
        if request.correlation != 0 {
            control.correlation = request.correlation;
        }
        if control.phase == Phase::Active {
            let cause = control.stop.as_ref().map_or(cause, |stop| stop.cause);
            self.stop.store(
                control.generation << CAUSE_BITS | cause as u64,
                Ordering::Release,
            );
            if let Some(token) = &control.token {
                token.cancel();
            }
        }
        control.wake();
        self.changed.notify_waiters();
    }

    pub(super) fn stop_run(&self, cause: StopCause, request: &StopRequest) {
        self.stop_locked(&mut self.lock(), cause, request);
    }

    pub(super) fn pause(&self, request: &StopRequest) -> bool {
        let mut control = self.lock();
        if control.hold.is_some() {
            return false;
        }
        control.hold = Some(Hold::Paused);
        self.held(
            &mut control,
            LifecycleEvent::Paused,
            StopCause::Pause,
            request,
        );
        true
    }

    pub(super) fn quarantine(
        &self,
        reason: Arc<str>,
        release_after: Option<Duration>,
        request: &StopRequest,
    ) -> bool {
        let mut control = self.lock();
        if matches!(control.hold, Some(Hold::Quarantined { .. })) {
            return false;
        }
        let until = release_after.map(|time| after(Instant::now(), time));
        control.hold = Some(Hold::Quarantined {
            reason: reason.clone(),
            until,
        });
        let step = LifecycleEvent::Quarantined {
            reason,
            release_after,
        };
        self.held(&mut control, step, StopCause::Quarantine, request);
        true
    }

    fn held(
        &self,
        control: &mut Control,
        step: LifecycleEvent,
        cause: StopCause,
        request: &StopRequest,
    ) {
        if request.correlation != 0 {
            control.correlation = request.correlation;
        }
        self.record(control, &[step]);
        if let Phase::BackingOff { .. } = control.phase {
            control.phase = Phase::Idle;
        }
        if control.phase == Phase::Active || control.phase == Phase::Joining {
            self.stop_locked(control, cause, request);
        } else {
            control.correlation = 0;
            control.wake();
            self.changed.notify_waiters();
        }
    }

    pub(super) fn release(&self, correlation: u64) -> Option<HoldReason> {
        let mut control = self.lock();
        control.hold.as_ref()?;
        if correlation != 0 {
            control.correlation = correlation;
        }
        Some(self.release_locked(&mut control))
    }

    fn release_locked(&self, control: &mut Control) -> HoldReason {
        let (from, step) = match control.hold.take() {
            Some(Hold::Quarantined { .. }) => (
                HoldReason::Quarantined,
                LifecycleEvent::Released {
                    from: HoldReason::Quarantined,
                },
            ),
            _ => (HoldReason::Paused, LifecycleEvent::Resumed),
        };
        control.forget_history();
        self.record(control, &[step]);
        control.wake();
        self.changed.notify_waiters();
        from
    }

    /// A restart by hand. `None`: the child is held or ending, and nothing changed.
    pub(super) fn restart(&self, request: &StopRequest) -> Option<()> {
        let mut control = self.lock();
        if control.hold.is_some() || control.end.is_some() {
            return None;
        }
        match control.phase {
            Phase::Active | Phase::Joining => {
                self.stop_locked(&mut control, StopCause::Restart, request);
                // Now, as a weightier stop may be pending. The run's end counts for nothing any more.
                control.forget_history();
            }
            Phase::Ended(_) | Phase::BackingOff { .. } | Phase::Idle => {
                if request.correlation != 0 {
                    control.correlation = request.correlation;
                }
                control.rerun |= matches!(control.phase, Phase::Ended(_));
                control.forget_history();
                control.since = Instant::now();
                control.wake();
                self.changed.notify_waiters();
            }
        }
        Some(())
    }

    pub(super) fn end(&self, cause: StopCause, request: &StopRequest) {
        let mut control = self.lock();
        control.end = control.end.max(Some(cause));
        if request.correlation != 0 {
            control.correlation = request.correlation;
        }
        self.stop_locked(&mut control, cause, request);
        control.wake();
        self.changed.notify_waiters();
    }

    pub(super) fn set_group_hold(&self, held: bool) {
        let mut control = self.lock();
        control.group_hold = held;
        if let (true, Phase::BackingOff { .. }) = (held, control.phase) {
            control.phase = Phase::Idle;
        }
        control.wake();
        self.changed.notify_waiters();
    }

    pub(super) fn set_lingering(&self) {
        let mut control = self.lock();
        if matches!(control.phase, Phase::Active | Phase::Joining) {
            control.lingering = true;
            control.since = Instant::now();
            self.changed.notify_waiters();
        }
    }

    /// Makes the slot ready for another life of its supervisor: holds by a person and generations stay.
    pub(super) fn reopen(&self, first_start: bool) {
        let mut control = self.lock();
        control.end = None;
        control.group_hold = false;
        control.rerun = false;
        control.first_start = first_start;
        control.forget_history();
        if let Phase::Ended(_) = control.phase {
            control.phase = Phase::Idle;
        }
    }

    pub(super) fn look<T>(&self, f: impl FnOnce(Look<'_>) -> T) -> T {
        let control = self.lock();
        f(Look { control: &control })
    }

    pub(super) fn is_managed(&self) -> bool {
        self.lock().managed
    }
}

/// A run that lasted this long was healthy, for a child without a backoff to say otherwise.
const DEFAULT_HEALTHY_TIME: Duration = Duration::from_secs(60);

fn healthy_time(settings: Option<&ChildSettings>) -> Duration {
    let backoff = settings.and_then(|settings| settings.backoff);
    backoff.map_or(DEFAULT_HEALTHY_TIME, |backoff| backoff.healthy_time())
}

/// A glance at a slot without copying it.
pub(super) struct Look<'a> {
    control: &'a Control,
}

impl Look<'_> {
    pub(super) fn status(&self) -> ChildStatus {
        self.control.status()
    }

    pub(super) fn generation(&self) -> u64 {
        self.control.generation
    }

    /// The run is ready, or need not say so and has been polled.
    pub(super) fn has_started(&self) -> bool {
        self.control.ready
            || (self.control.polled_once && self.control.readiness == ReadinessPolicy::Immediate)
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.control.phase, Phase::Active | Phase::Joining)
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.control.phase, Phase::Ended(_)) && !self.control.rerun
    }

    /// As `is_active`, without what the run left behind.
    pub(super) fn is_running(&self) -> bool {
        self.control.phase == Phase::Active
    }

    pub(super) fn is_held(&self) -> bool {
        self.control.hold.is_some()
    }

    pub(super) fn waits_for_group(&self) -> bool {
        self.control.group_hold && !self.is_active()
    }

    pub(super) fn end(&self) -> Option<StopCause> {
        self.control.end
    }

    pub(super) fn last_exit(&self) -> Option<&LastExit> {
        self.control.last_exit.as_deref()
    }

    pub(super) fn drop_at(&self) -> Option<Instant> {
        let grace = self
            .control
            .settings
            .as_ref()
            .and_then(|settings| settings.grace);
        self.control
            .stop
            .as_ref()
            .and_then(|stop| stop.drop_at(grace))
    }

    pub(super) fn start_extended(&self) -> Option<Instant> {
        self.control.start_extended
    }
}

impl Stop {
    /// The grace or the stopper's deadline, whichever is sooner; later if the run asked for more time, up
    /// to the cap.
    fn drop_at(&self, grace: Option<Duration>) -> Option<Instant> {
        let planned = earlier(grace.map(|grace| after(self.asked, grace)), self.deadline);
        let extended = match (planned, self.extended) {
            (Some(planned), Some(extended)) => Some(planned.max(extended)),
            (planned, _) => planned,
        };
        earlier(extended, self.cap)
    }
}

/// A time too far away to be named is one that nobody lives to see.
fn after(then: Instant, time: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    then.checked_add(time)
        .unwrap_or_else(|| then + THIRTY_YEARS)
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_at_the_sooner_of_grace_and_deadline_and_no_extension_passes_the_cap() {
        let t = Instant::now();
        let at = |secs| t + Duration::from_secs(secs);
        let stop = |deadline, extended, cap| Stop {
            cause: StopCause::Shutdown,
            asked: t,
            deadline,
            cap,
            extended,
        };
        let grace = Some(Duration::from_secs(5));
        assert_eq!(stop(None, None, None).drop_at(grace), Some(at(5)));
        assert_eq!(stop(Some(at(3)), None, None).drop_at(grace), Some(at(3)));
        assert_eq!(stop(Some(at(9)), None, None).drop_at(grace), Some(at(5)));
        assert_eq!(stop(None, Some(at(8)), None).drop_at(grace), Some(at(8)));
        assert_eq!(
            stop(None, Some(at(8)), Some(at(7))).drop_at(grace),
            Some(at(7))
        );
        assert_eq!(stop(None, None, None).drop_at(None), None);
    }
}
