use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use supervisor_layers::{StopCause, TaskContext, TaskResult};
use tokio::sync::Notify;

use super::{
    play::{End, Play, play},
    record::{Record, ScriptedRun},
};
use crate::sync::lock;

/// A child that does what a test says, run by run, and writes down what became of it.
///
/// First what each run does, in order: [`fails`](Self::fails), [`panics`](Self::panics),
/// [`completes`](Self::completes), [`runs_until_stopped`](Self::runs_until_stopped). Then what every run after
/// those does; unless said otherwise with a `then_…`, it runs until it is stopped. What stands between changes
/// what was said last:
/// [`after`](Self::after), [`ready_after`](Self::ready_after), [`never_ready`](Self::never_ready),
/// [`stops_after`](Self::stops_after), [`deaf`](Self::deaf), [`silent_after`](Self::silent_after).
///
/// A run is ready as soon as it has begun, beats as often as it is asked to, stops at once when it is asked to,
/// and where it is to end by itself does so after its first poll: it has started.
///
/// ```
/// use rust_supervisor::{ChildSpec, ReadinessPolicy, ms, secs, test_util::Script};
///
/// let database = Script::new()
///     .fails(2, "connection lost").after(secs(5))
///     .panics(1, "index out of bounds")
///     .then_runs().ready_after(ms(300)).stops_after(secs(2));
/// ChildSpec::worker("database", database.task()).readiness(ReadinessPolicy::Explicit);
/// ```
///
/// While a run is alive a test can end it: [`fail`](Self::fail), [`panic`](Self::panic),
/// [`complete`](Self::complete).
///
/// A script is one child's; several that share one take turns with its steps.
///
/// # Panics
///
/// When it is dropped, or asked for its record, if two runs of one child were ever alive at once: that is what
/// supervision promises never to happen.
pub struct Script {
    steps: Vec<(usize, Play)>,
    then: Play,
    /// The modifiers mean what comes after the steps.
    said_then: bool,
    shared: Arc<Shared>,
}

/// What a script and the runs of its task share.
#[derive(Default)]
pub(super) struct Shared {
    record: Mutex<Record>,
    order: Mutex<Option<End>>,
    ordered: Notify,
}

impl Shared {
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// Waits until the test orders how the run is to end.
    pub(super) async fn order(&self) -> End {
        loop {
            let ordered = self.ordered.notified();
            let order = lock(&self.order).take();
            match order {
                Some(order) => return order,
                None => ordered.await,
            }
        }
    }
}

impl Script {
    /// Every run goes on until it is stopped.
    pub fn new() -> Self {
        Self {
            steps: Vec::new(),
            then: Play::new(End::Stopped),
            said_then: true,
            shared: Arc::default(),
        }
    }

    fn step(mut self, runs: usize, end: End) -> Self {
        self.steps.push((runs, Play::new(end)));
        self.said_then = false;
        self
    }

    fn then(mut self, end: End) -> Self {
        self.then = Play::new(end);
        self.said_then = true;
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Play)) -> Self {
        let play = match self.steps.last_mut() {
            Some((_, play)) if !self.said_then => play,
            _ => &mut self.then,
        };
        change(play);
        self
    }

    /// The next `runs` runs fail with this message.
    #[must_use]
    pub fn fails(self, runs: usize, message: &str) -> Self {
        self.step(runs, End::Fails(message.into()))
    }

    /// The next run fails, and no restart can help.
    #[must_use]
    pub fn fails_fatally(self, message: &str) -> Self {
        self.step(1, End::FailsFatally(message.into()))
    }

    /// The next `runs` runs panic with this message.
    #[must_use]
    pub fn panics(self, runs: usize, message: &str) -> Self {
        self.step(runs, End::Panics(message.into()))
    }

    /// The next `runs` runs complete.
    #[must_use]
    pub fn completes(self, runs: usize) -> Self {
        self.step(runs, End::Completes)
    }

    /// The next `runs` runs go on until they are stopped.
    #[must_use]
    pub fn runs_until_stopped(self, runs: usize) -> Self {
        self.step(runs, End::Stopped)
    }

    /// All further runs go on until they are stopped.
    #[must_use]
    pub fn then_runs(self) -> Self {
        self.then(End::Stopped)
    }

    /// All further runs fail with this message.
    #[must_use]
    pub fn then_fails(self, message: &str) -> Self {
        self.then(End::Fails(message.into()))
    }

    /// All further runs panic with this message.
    #[must_use]
    pub fn then_panics(self, message: &str) -> Self {
        self.then(End::Panics(message.into()))
    }

    /// All further runs complete.
    #[must_use]
    pub fn then_completes(self) -> Self {
        self.then(End::Completes)
    }

    /// They end by themselves after this time rather than at once. No effect on those that go on until they
    /// are stopped.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        self.change(|play| play.lasts = time)
    }

    /// They say that they are ready after this time. With immediate readiness nobody waits for it.
    #[must_use]
    pub fn ready_after(self, time: Duration) -> Self {
        self.change(|play| play.ready = Some(time))
    }

    /// They never say that they are ready; those that end at once do so in their first poll. So a run that
    /// fails has not started, whatever the child's readiness.
    ///
    /// ```
    /// # use rust_supervisor::{ChildSpec, SupervisorSpec, test_util::{Script, TestTree}};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let broken = Script::new().fails(1, "no database").never_ready();
    /// let spec = SupervisorSpec::one_for_one("t").child(ChildSpec::worker("c", broken.task()));
    /// let error = TestTree::try_start(spec).await.unwrap_err();
    /// assert_eq!(error.to_string(), "/c could not be started: failed: no database");
    /// # }
    /// ```
    #[must_use]
    pub fn never_ready(self) -> Self {
        self.change(|play| play.ready = None)
    }

    /// They take this long to stop when they are asked to.
    #[must_use]
    pub fn stops_after(self, time: Duration) -> Self {
        self.change(|play| play.stops = Some(time))
    }

    /// They do not hear that they are to stop: they have to be aborted.
    #[must_use]
    pub fn deaf(self) -> Self {
        self.change(|play| play.stops = None)
    }

    /// They show no sign of life any more after this time.
    #[must_use]
    pub fn silent_after(self, time: Duration) -> Self {
        self.change(|play| play.beats_for = Some(time))
    }

    /// What [`ChildSpec::worker`](crate::ChildSpec::worker), [`ChildSpec::job`](crate::ChildSpec::job) and
    /// [`service_fn`](crate::service_fn) take. It does what the script says up to now.
    pub fn task(
        &self,
    ) -> impl Fn(TaskContext) -> Pin<Box<dyn Future<Output = TaskResult> + Send>>
    + Clone
    + Send
    + Sync
    + 'static
    + use<> {
        let shared = self.shared.clone();
        let steps: Arc<[_]> = self.steps.clone().into();
        let then = Arc::new(self.then.clone());
        move |ctx| {
            let run = shared.record().begin(&ctx);
            let does = nth(&steps, run).unwrap_or(&then).clone();
            // Made here, so that a run that is dropped before its first poll has ended, too.
            let alive = Alive {
                run,
                ctx: ctx.clone(),
                shared: shared.clone(),
            };
            Box::pin(async move { play(&does, &ctx, &alive.shared).await })
        }
    }

    #[track_caller]
    fn order(&self, end: End) {
        assert!(
            self.alive() > 0,
            "no run of this script is alive to be told how to end: {:?}",
            self.recorded()
        );
        *lock(&self.shared.order) = Some(end);
        self.shared.ordered.notify_waiters();
    }

    /// Makes the run that is alive fail.
    ///
    /// # Panics
    ///
    /// If none is.
    #[track_caller]
    pub fn fail(&self, message: &str) {
        self.order(End::Fails(message.into()));
    }

    /// Makes the run that is alive panic.
    ///
    /// # Panics
    ///
    /// If none is.
    #[track_caller]
    pub fn panic(&self, message: &str) {
        self.order(End::Panics(message.into()));
    }

    /// Makes the run that is alive complete.
    ///
    /// # Panics
    ///
    /// If none is.
    #[track_caller]
    pub fn complete(&self) {
        self.order(End::Completes);
    }

    /// All runs so far, in the order in which they began.
    #[track_caller]
    pub fn recorded(&self) -> Vec<ScriptedRun> {
        self.assert_one_at_a_time();
        self.shared.record().runs.clone()
    }

    /// How many runs have begun.
    #[track_caller]
    pub fn runs(&self) -> usize {
        self.recorded().len()
    }

    /// How many runs are alive.
    #[track_caller]
    pub fn alive(&self) -> usize {
        let recorded = self.recorded();
        recorded.iter().filter(|run| run.ended.is_none()).count()
    }

    /// The times between the end of a run and the beginning of the next, in whole milliseconds: tokio's
    /// timers know no smaller ones.
    #[track_caller]
    pub fn delays(&self) -> Vec<Duration> {
        let runs = self.recorded();
        runs.windows(2)
            .filter_map(|pair| Some(pair[1].began.duration_since(pair[0].ended?)))
            .map(|delay| delay - Duration::from_nanos(u64::from(delay.subsec_nanos() % 1_000_000)))
            .collect()
    }

    /// Why each run that has ended was being stopped then; `None` for one that ended by itself.
    #[track_caller]
    pub fn stop_causes(&self) -> Vec<Option<StopCause>> {
        let ended = |run: ScriptedRun| run.ended.map(|_| run.stopped);
        self.recorded().into_iter().filter_map(ended).collect()
    }

    #[track_caller]
    fn assert_one_at_a_time(&self) {
        let twice = std::mem::take(&mut self.shared.record().twice);
        assert!(
            twice.is_empty(),
            "two runs of one child were alive at once: {}",
            twice.join("; ")
        );
    }
}

/// The play of the run of this index, if a step says what it does.
fn nth(steps: &[(usize, Play)], mut run: usize) -> Option<&Play> {
    for (runs, play) in steps {
        match run.checked_sub(*runs) {
            Some(left) => run = left,
            None => return Some(play),
        }
    }
    None
}

/// Writes down the end of a run, however it ends.
struct Alive {
    run: usize,
    ctx: TaskContext,
    shared: Arc<Shared>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut record = self.shared.record();
        record.end(self.run, self.ctx.stop_cause());
        // What was ordered was meant for this run.
        *lock(&self.shared.order) = None;
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_one_at_a_time();
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("steps", &self.steps)
            .field("then", &self.then)
            .field("runs", &self.shared.record().runs)
            .finish()
    }
}
