use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ChildSnapshot, ChildStatus, HoldReason, LastExit, Owner, Slot, StopRequest, TaskContext,
};
use crate::{
    FailureKind, StopCause, SupervisedLayer, TaskExit, TaskFailure,
    policy::{Nanos, RestartDecision, RestartType},
};

/// What the gate answers to the question for the next run.
#[derive(Debug, Clone)]
pub enum NextRun {
    /// It has begun; this is its context.
    Run(TaskContext),
    /// There is none.
    End(StopCause),
}

/// How a start went; see [`Gate::started`].
#[derive(Debug, Clone, PartialEq)]
pub enum StartOutcome {
    /// The run is ready, or need not say so and goes on after its first poll.
    Started,
    /// It ended before that.
    Exited(Box<LastExit>),
    /// The life ended without a run: the service said that it will not run again.
    Ended,
    /// The child is held, or waits for a sibling that is.
    Held,
    /// The child is being ended.
    Ending(StopCause),
}

/// A child's current or last run; see [`Gate::take_last_word`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// Which it is; 0 before the first.
    pub generation: u64,
    /// How the last one ended that did.
    pub exit: Option<TaskExit>,
    /// When that was, since the [origin](crate::Owner::origin) of the child's times.
    pub ended: Option<Nanos>,
    /// What it started is alive.
    pub has_helpers: bool,
}

/// What a life's end leaves of the child; see [`Gate::end_life`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeEnd {
    /// Nothing but a restart by hand brings another run.
    pub ended: bool,
    /// Why the child is being ended for good, if it is.
    pub ending: Option<StopCause>,
}

/// Who drops a stopping run that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Its own stack, in its own task.
    Own,
    /// Whoever stopped it: its stack has no grace.
    OfStopper,
}

/// A child's gate: through it pause, quarantine, group restarts and shutdown reach the child in any state.
///
/// Before every run the gate is asked; a hold closes it, a release opens it, an end makes it answer that
/// there is no next run. What concerns a run that is alive is a stop with its cause.
#[derive(Clone)]
pub struct Gate {
    slot: Arc<Slot>,
}

impl Gate {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        Self { slot }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// The child's name among its siblings.
    pub fn id(&self) -> &str {
        self.slot.id()
    }

    /// Where the child stands in the tree: `/storage/database`.
    pub fn path(&self) -> &Arc<str> {
        self.slot.path()
    }

    /// Which addition of the child this is; a name that was removed and added again has a new one.
    pub fn instance(&self) -> u64 {
        self.slot.instance()
    }

    /// Who supervises it, if it is part of a tree.
    pub fn owner(&self) -> Option<&Arc<dyn Owner>> {
        self.slot.owner()
    }

    /// What its supervisor has it run under, if it does not bring layers of its own.
    pub fn layer(&self) -> Option<&SupervisedLayer> {
        self.slot.layer()
    }

    /// All there is to see of the child.
    pub fn snapshot(&self) -> ChildSnapshot {
        self.slot.snapshot()
    }

    /// Stops the child and keeps it down until released. `false` if it was held already.
    pub fn pause(&self) -> bool {
        self.pause_with(StopRequest::default())
    }

    /// The same, saying how the run is stopped.
    pub fn pause_with(&self, request: StopRequest) -> bool {
        self.slot.pause(&request)
    }

    /// Stops the child and holds it in quarantine until released, or for `release_after`. `false` if it
    /// was in quarantine already.
    pub fn quarantine(&self, reason: impl Into<Arc<str>>, release_after: Option<Duration>) -> bool {
        self.quarantine_with(reason, release_after, StopRequest::default())
    }

    /// The same, saying how the run is stopped.
    pub fn quarantine_with(
        &self,
        reason: impl Into<Arc<str>>,
        release_after: Option<Duration>,
        request: StopRequest,
    ) -> bool {
        self.slot.quarantine(reason.into(), release_after, &request)
    }

    /// Opens the gate again, with fuse and backoff as new. `None` if nothing held the child.
    pub fn release(&self) -> Option<HoldReason> {
        self.release_with(0)
    }

    /// The same, with what ties the consequences to their cause.
    pub fn release_with(&self, correlation: u64) -> Option<HoldReason> {
        self.slot.release(correlation)
    }

    /// Stops the run, if one lives, and has the child run again at once, with fuse and backoff as new.
    /// `None`, and nothing changed, if it is held, being ended, or waits for a sibling that is held.
    pub fn restart(&self) -> Option<()> {
        self.restart_with(StopRequest::default())
    }

    /// The same, saying how the run is stopped.
    pub fn restart_with(&self, request: StopRequest) -> Option<()> {
        self.slot.restart(&request)
    }

    /// Ends the child for good: its run is stopped, and no other begins.
    pub fn shutdown(&self) {
        self.end(StopCause::Shutdown, StopRequest::default());
    }

    /// The same for any cause, saying how the run is stopped. Answers when it will be dropped, and by whom.
    pub fn end(&self, cause: StopCause, request: StopRequest) -> Option<(Instant, Grace)> {
        self.slot.end(cause, &request)
    }

    /// Stops the run alone; what follows is up to the cause.
    pub fn stop_run(&self, cause: StopCause, request: StopRequest) {
        self.slot.stop_run(cause, &request);
    }

    /// Keeps the next run from beginning until its group may start, or no longer keeps it.
    pub fn hold_for_group(&self, held: bool) {
        self.slot.set_group_hold(held);
    }

    /// Its group has started without it, as it needs a sibling that is held: the next run waits until the
    /// group hold is taken away, and the status says for whom.
    pub fn wait_for(&self, sibling: impl Into<Arc<str>>) {
        self.slot.wait_for(sibling.into());
    }

    /// The run cannot be ended and goes on; said by a stopper that waits no longer.
    pub fn mark_lingering(&self) {
        self.slot.set_lingering();
    }

    /// Prepares another life under a new life of the supervisor: generations and holds stay, fuse and
    /// backoff are as new. With `first_start` a failure before the start is final.
    pub fn reopen(&self, first_start: bool) {
        self.slot.reopen(first_start);
    }

    /// What the child does from now on is a consequence of this, until it is ready or held.
    pub fn correlate(&self, correlation: u64) {
        self.slot.correlate(correlation);
    }

    /// What the child does now is a consequence of this; 0 for nothing.
    pub fn correlation(&self) -> u64 {
        self.slot.look(|look| look.correlation())
    }

    /// Waits until a run may begin and begins it, or says that there is none.
    ///
    /// # Cancel safety
    ///
    /// Safe: a run begins only when this returns it.
    pub async fn next_run(&self) -> NextRun {
        let mut timer = None;
        let leftovers = self.slot.leftovers();
        let mut joined = pin!(async {
            if let Some(leftovers) = &leftovers {
                leftovers.wait().await;
            }
        });
        let mut joining = leftovers.is_some();
        loop {
            let answer = poll_fn(|cx| {
                if joining {
                    self.slot.register(cx);
                }
                let answer = ready!(self.slot.poll_gate(cx, &mut timer));
                if joining && answer.is_ok() {
                    ready!(joined.as_mut().poll(cx));
                    joining = false;
                }
                Poll::Ready(answer)
            });
            if let Err(cause) = answer.await {
                return NextRun::End(cause);
            }
            if let Some(generation) = self.slot.begin_run(self.slot.now()) {
                return NextRun::Run(TaskContext::of_run(self.slot.clone(), generation));
            }
        }
    }

    /// Whether a `RestartLayer` inside carries out the runs of the life that has begun.
    fn is_managed(&self) -> bool {
        self.slot.look(|look| look.is_managed())
    }

    /// What a call answered was polled once and goes on.
    pub fn pending(&self, generation: u64) {
        if self.is_managed() {
            self.slot.life_pending();
        } else {
            self.slot.pending(generation);
        }
    }

    /// The service was asked and is not ready yet: whoever waits for the start of a child that need not
    /// say that it is ready waits no longer.
    pub fn life_pending(&self) {
        self.slot.life_pending();
    }

    /// Whether the run is to stop; the task is woken when it is.
    pub fn poll_stopped(&self, cx: &Context<'_>, generation: u64) -> bool {
        self.slot.poll_stopped(cx, generation)
    }

    /// Ends a run that no `RestartLayer` ended, and with it the life, unless somebody stopped the run to
    /// have another one later: the run's helpers end first. Answers how it leaves the child.
    pub async fn end_life(&self, generation: u64, result: &Result<(), TaskFailure>) -> LifeEnd {
        let result = result.as_ref().map(|&()| ());
        // What the life's own restarts have ended and decided is nearly always all there was.
        if let Some(end) = self.slot.end_life_if_down(generation, result.is_err()) {
            return end;
        }
        if let Some(helpers) = self.slot.end_helpers(generation) {
            helpers.wait().await;
        }
        let ended = self
            .slot
            .end_run(generation, result, RestartType::Temporary);
        if ended.is_none() || self.is_ending() {
            let at = ended.map(|exit| exit.at);
            return self.slot.end_life(result.is_err(), at);
        }
        self.slot.look(|look| look.life_end())
    }

    /// Says that no life follows: the child's task ends at the gate.
    pub fn conclude(&self) {
        self.slot.end_life(false, None);
    }

    /// Ends, as aborted, whatever run and life the child has: for a task that was dropped with them. Its
    /// helpers are aborted, not awaited.
    pub fn abandon(&self) {
        let generation = self.generation();
        self.slot.end_helpers(generation);
        let dropped = TaskFailure::new(FailureKind::Aborted, "its task was aborted");
        self.slot
            .end_run(generation, Err(&dropped), RestartType::Temporary);
        self.slot.end_life(true, None);
    }

    /// For whoever supervises the child, to tell the last there is to say of it: what is left of its last run. Once
    /// until the gate is opened anew: `None` when somebody has asked, or the owner has
    /// [told it](crate::Owner::record_last) with its end.
    pub fn take_last_word(&self) -> Option<LastRun> {
        self.slot.take_last_word()
    }

    /// Waits for the outcome of the start of the first run after `generation`. One that has started and is
    /// over before anybody looks has started.
    pub async fn started(&self, generation: u64) -> StartOutcome {
        self.slot
            .until_seen(|look| {
                if look.generation() > generation {
                    if look.started() > generation {
                        return Some(StartOutcome::Started);
                    }
                    if !look.is_active()
                        && let Some(last) = look.last_exit()
                    {
                        return Some(StartOutcome::Exited(Box::new(last.told(&self.slot))));
                    }
                }
                match look.end() {
                    Some(cause) if !look.is_active() => Some(StartOutcome::Ending(cause)),
                    _ if look.is_kept_down() && !look.is_active() => Some(StartOutcome::Held),
                    _ if look.is_ended() => Some(StartOutcome::Ended),
                    _ => None,
                }
            })
            .await
    }

    /// Waits until the child's run is ready. `Err` with its status once it is down for good or held, or is to
    /// be when a run ends that cannot be ended.
    pub async fn ready(&self) -> Result<u64, ChildStatus> {
        self.slot
            .until_seen(|look| {
                if look.is_running() && look.has_started() && !look.is_stopping() {
                    Some(Ok(look.generation()))
                } else if (!look.is_active() || look.is_lingering())
                    && (look.is_kept_down() || look.is_ended() || look.end().is_some())
                {
                    Some(Err(look.status()))
                } else {
                    None
                }
            })
            .await
    }

    /// Waits until no run of the child is alive.
    pub async fn down(&self) {
        self.slot
            .until_seen(|look| (!look.is_active()).then_some(()))
            .await;
    }

    /// Waits until the run `generation` is over: none of the child is alive, or a later one is already.
    pub async fn over(&self, generation: u64) {
        self.slot
            .until_seen(|look| (!look.is_active() || look.generation() > generation).then_some(()))
            .await;
    }

    /// Waits until the run after `generation` has begun, or the child is down for good or held.
    pub async fn ran_again(&self, generation: u64) -> Result<u64, ChildStatus> {
        self.slot
            .until_seen(|look| {
                if look.generation() > generation {
                    Some(Ok(look.generation()))
                } else if !look.is_active()
                    && (look.is_kept_down() || look.is_ended() || look.end().is_some())
                {
                    Some(Err(look.status()))
                } else {
                    None
                }
            })
            .await
    }

    /// The child's current or last run.
    pub fn context(&self) -> TaskContext {
        TaskContext::of_run(self.slot.clone(), self.generation())
    }

    /// Whether a run of the child is alive, its helpers included.
    pub fn is_active(&self) -> bool {
        self.slot.look(|look| look.is_active())
    }

    /// Whether the last run ended before it had started, and was the first start that is not retried.
    pub fn failed_first_start(&self) -> bool {
        self.slot.look(|look| look.failed_first_start())
    }

    /// Whether somebody, or the quarantine, holds the child down.
    pub fn is_held(&self) -> bool {
        self.slot.look(|look| look.is_held())
    }

    /// What holds the child down, or will when its run has stopped.
    pub fn hold(&self) -> Option<HoldReason> {
        self.slot.look(|look| look.hold())
    }

    /// Whether the child's life is over and nothing but a restart by hand brings another run.
    pub fn is_ended(&self) -> bool {
        self.slot.look(|look| look.is_ended())
    }

    /// Whether the child is being ended for good.
    pub fn is_ending(&self) -> bool {
        self.end_cause().is_some()
    }

    /// Why the child is being ended for good.
    pub fn end_cause(&self) -> Option<StopCause> {
        self.slot.look(|look| look.end())
    }

    /// The held sibling that the next run waits for.
    pub fn waits_for(&self) -> Option<Arc<str>> {
        self.slot.look(|look| look.waits_for().cloned())
    }

    /// Whether no run has started, and one will unless somebody or a limit prevents it.
    pub fn is_coming(&self) -> bool {
        self.slot.look(|look| look.is_coming())
    }

    /// Whether no run is alive and the next waits for the child's group.
    pub fn waits_for_group(&self) -> bool {
        self.slot.look(|look| look.waits_for_group())
    }

    /// What the child is doing.
    pub fn status(&self) -> ChildStatus {
        self.slot.look(|look| look.status())
    }

    /// The current or last run.
    pub fn generation(&self) -> u64 {
        self.slot.look(|look| look.generation())
    }

    /// How long its layers give a stopping run; published at its first run.
    pub fn grace(&self) -> Option<Duration> {
        self.slot.look(|look| look.settings()?.grace)
    }

    /// When its `RestartLayer` runs it again; published at its first run.
    pub fn restart_type(&self) -> Option<RestartType> {
        self.slot.look(|look| look.settings()?.restart)
    }

    /// How long its watchdog lets a run take to become ready; published at its first run.
    pub fn start_timeout(&self) -> Option<Duration> {
        self.slot.look(|look| look.settings()?.start_timeout)
    }

    /// What was decided at the end of the last run that ended, and which that was.
    pub fn last_decision(&self) -> Option<(u64, RestartDecision)> {
        self.slot.look(|look| {
            let last = look.last_exit()?;
            Some((last.generation, last.end.decision()))
        })
    }

    /// Whether a helper task of the current or the last run is alive.
    pub fn has_helpers(&self) -> bool {
        self.slot.look(|look| look.has_helpers())
    }

    /// When a stopping run will be dropped, as far as that is planned, and by whom.
    pub fn drop_at(&self) -> Option<(Instant, Grace)> {
        self.slot.look(|look| look.drop_at())
    }

    /// Until when a starting run asked for more time.
    pub fn start_extended(&self) -> Option<Instant> {
        self.slot.look(|look| look.start_extended())
    }

    /// Waits until `f` answers; it is asked whenever the child may have changed.
    pub async fn until<T>(&self, f: impl FnMut() -> Option<T>) -> T {
        self.slot.until(f).await
    }

    /// Whoever waits for the child looks again.
    pub fn notify(&self) {
        self.slot.tell_watchers();
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("path", &self.slot.path())
            .field("status", &self.status())
            .finish()
    }
}
