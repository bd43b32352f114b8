use std::{
    fmt::{self, Write},
    future::Future,
    ops::Deref,
    panic::Location,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{clock, history, recorder::Recorder};
use crate::{
    CommandMeta, ShutdownResult, Supervisor, SupervisorError, SupervisorEvent, SupervisorHandle,
    SupervisorPath, SupervisorSpec, sync::lock,
};

/// A tree under test, in virtual time: its [`SupervisorHandle`] with waits that cannot hang, everything that
/// has happened, and a shutdown that fails if anything is left alive.
///
/// Time has to be paused: `#[tokio::test(start_paused = true)]`. It then passes only when nobody has anything
/// left to do, and an hour takes no longer than what happens in it. A thread that works on the blocking pool
/// holds it up until it is done.
///
/// Jitter is the same in every run of a test; a [`jitter_seed`](SupervisorSpec::jitter_seed) in the declaration
/// makes it another.
///
/// Dropped without a shutdown the tree is cancelled, as with the last handle of any.
pub struct TestTree {
    handle: SupervisorHandle,
    recorder: Mutex<Recorder>,
    pub(super) limit: Duration,
    /// How many tasks the runtime had before this tree.
    tasks_before: usize,
}

/// Who asks for a change and what for, where a test does.
pub fn by() -> CommandMeta {
    match CommandMeta::new("test", "to see what happens") {
        Ok(by) => by,
        Err(_) => unreachable!("neither is blank"),
    }
}

impl TestTree {
    const LIMIT: Duration = Duration::from_secs(600);
    const SEED: u64 = 1;

    /// Starts the tree and waits until all its children have started.
    ///
    /// # Panics
    ///
    /// If it does not start, or has not after ten minutes of virtual time. If time is not paused.
    #[track_caller]
    pub fn start(spec: SupervisorSpec) -> impl Future<Output = Self> {
        let at = Location::caller();
        let start = Self::begin(spec, at);
        async move {
            match start.await {
                Ok(tree) => tree,
                Err(error) => panic!("the tree that {at} starts does not: {error}"),
            }
        }
    }

    /// The same for a tree that perhaps does not start.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::start`].
    ///
    /// # Panics
    ///
    /// If neither is known after ten minutes of virtual time. If time is not paused.
    #[track_caller]
    pub fn try_start(spec: SupervisorSpec) -> impl Future<Output = Result<Self, SupervisorError>> {
        Self::begin(spec, Location::caller())
    }

    async fn begin(
        mut spec: SupervisorSpec,
        at: &'static Location<'static>,
    ) -> Result<Self, SupervisorError> {
        assert!(
            clock::is_paused(),
            "time is not paused at {at}: a TestTree lives in virtual time; write \
             #[tokio::test(start_paused = true)], which needs the feature test-util of tokio"
        );
        spec.tree.jitter_seed.get_or_insert(Self::SEED);
        let tasks_before = tasks();
        let started = tokio::time::timeout(Self::LIMIT, Supervisor::start(spec)).await;
        let Ok(started) = started else {
            panic!(
                "the tree that {at} starts has not after {:?}: a child of explicit readiness does not say that \
                 it is ready",
                Self::LIMIT
            )
        };
        Ok(Self {
            handle: started?,
            recorder: Mutex::default(),
            limit: Self::LIMIT,
            tasks_before,
        })
    }

    /// How long, in virtual time, anything is waited for; ten minutes unless said otherwise.
    #[must_use]
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A handle of its own: for a task, or to keep the tree alive beyond this.
    pub fn handle(&self) -> SupervisorHandle {
        self.handle.clone()
    }

    pub(super) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        let mut recorder = lock(&self.recorder);
        recorder.catch_up(&self.handle);
        recorder
    }

    /// Everything that has happened since the start.
    ///
    /// # Panics
    ///
    /// If so much has happened since this or a wait was last asked for that the tree no longer knows it all.
    #[track_caller]
    pub fn events(&self) -> Vec<SupervisorEvent> {
        let recorder = self.recorder();
        let missed = recorder.missed;
        let events = recorder.events.clone();
        drop(recorder);
        assert!(
            missed == 0,
            "{missed} events were forgotten before anybody looked; give the tree a larger journal_capacity"
        );
        events
    }

    /// What has happened to one child, or by one supervisor, since the start, in words:
    ///
    /// ```
    /// # use rust_supervisor::{Backoff, ChildSpec, Jitter, SupervisorSpec, ms, test_util::{Script, TestTree}};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # let script = Script::new().fails(1, "connection lost");
    /// # let child = ChildSpec::worker("c", script.task()).backoff(Backoff::constant(ms(50)).jitter(Jitter::None));
    /// # let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    /// # tree.until_running("c", 2).await;
    /// assert_eq!(
    ///     tree.history("c"),
    ///     ["starting 1", "ready 1", "failed 1: connection lost", "backing off 50ms", "starting 2", "ready 2"],
    /// );
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`events`](Self::events).
    #[track_caller]
    pub fn history(&self, path: impl Into<SupervisorPath>) -> Vec<String> {
        let path = path.into();
        let events = self.events();
        let own = events.iter().filter(|event| event.path == path);
        own.filter_map(history::line).collect()
    }

    /// The same of the whole tree, each line with its path: `/c starting 1`.
    ///
    /// # Panics
    ///
    /// As [`events`](Self::events).
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        let events = self.events();
        let line =
            |event: &SupervisorEvent| Some(format!("{} {}", event.path, history::line(event)?));
        events.iter().filter_map(line).collect()
    }

    /// Shuts the tree down. Beyond what the shutdown's report counts, the runtime is asked: none of its tasks
    /// is to be left that was not there before the tree was started. So a task that a child started with
    /// `tokio::spawn` and forgot is found, too; one of the test's own has to end before.
    ///
    /// # Panics
    ///
    /// If anything is left alive: with what.
    #[track_caller]
    pub fn shutdown_clean(&self) -> impl Future<Output = ShutdownResult> {
        let at = Location::caller();
        async move {
            let by = by();
            let shutdown = self.handle.shutdown_tree(&by);
            let result = match tokio::time::timeout(self.limit, shutdown).await {
                Ok(Ok(result)) => result,
                Ok(Err(error)) => self.fail(at, &format!("the tree did not shut down: {error}")),
                Err(_) => self.fail(at, &format!("no shutdown within {:?}", self.limit)),
            };
            if !result.clean {
                self.fail(at, &result.to_string());
            }
            // Virtual time passes when everybody has gone as far as he can.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let left = tasks().saturating_sub(self.tasks_before);
            if left > 0 {
                self.fail(
                    at,
                    &format!(
                        "tasks left alive that were not there before the start: {left}. The report knows of \
                         none: a child, or the test, started them with tokio::spawn and let them go"
                    ),
                );
            }
            result
        }
    }

    /// Fails the test: what was expected, where, the tree as it is, and what happened last.
    pub(super) fn fail(&self, at: &Location<'_>, what: &str) -> ! {
        panic!("{what}\n  at {at}\n{self:?}");
    }
}

/// How many tasks this runtime has.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

impl Deref for TestTree {
    type Target = SupervisorHandle;

    fn deref(&self) -> &SupervisorHandle {
        &self.handle
    }
}

/// The tree as it is, and what happened last.
impl fmt::Debug for TestTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST: usize = 20;

        write!(f, "{}", self.handle.current_state())?;
        let recorder = self.recorder();
        let mut lines: Vec<_> = recorder
            .events
            .iter()
            .rev()
            .filter_map(|event| Some((event, history::line(event)?)))
            .take(LAST + 1)
            .collect();
        if lines.len() > LAST {
            lines.pop();
            f.write_str("\n  …")?;
        }
        for (event, line) in lines.iter().rev() {
            let at = event.uptime.as_secs_f64();
            write!(f, "\n  +{at:.3}s {} {line}", event.path)?;
        }
        if recorder.missed > 0 {
            write!(
                f,
                "\n  and {} events before them that were forgotten",
                recorder.missed
            )?;
        }
        f.write_char('\n')
    }
}
