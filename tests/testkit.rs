//! What the test kit promises: scripts do and write down what they say, waits end, nothing left alive is missed.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use rust_supervisor::{
    Backoff, BackoffLayer, ChildShutdownStatus, ChildSpec, Jitter, LifecycleEvent, ReadinessPolicy,
    RestartLayer, StopCause, SupervisorError, SupervisorSpec, TaskContext, TaskExit, ms, secs,
    service_fn,
    test_util::{Script, TestTree, by},
};
use tokio::{sync::Notify, time::Instant};
use tower::ServiceBuilder;

/// A child that restarts after 10 ms and is never given up.
fn restless(script: &Script) -> ChildSpec {
    ChildSpec::worker("c", script.task())
        .backoff(Backoff::constant(ms(10)).jitter(Jitter::None))
        .fuse(100, secs(60))
}

fn alone(child: ChildSpec) -> SupervisorSpec {
    SupervisorSpec::one_for_one("t").child(child)
}

/// Everything about how a child's runs ended, in order.
fn exits(tree: &TestTree) -> Vec<String> {
    let mut history = tree.history("c");
    let exit = |line: &str| {
        TaskExit::ALL
            .iter()
            .any(|exit| line.starts_with(exit.as_str()))
    };
    history.retain(|line| exit(line));
    history
}

fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().unwrap().to_string(),
    }
}

/// The message with which the future panics.
async fn panics(future: impl Future<Output = ()>) -> String {
    let mut future = std::pin::pin!(future);
    let outcome = std::future::poll_fn(|cx| {
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match poll {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    });
    said(outcome.await.expect_err("it panics"))
}

#[tokio::test(start_paused = true)]
async fn a_script_is_played_run_by_run() {
    let script = Script::new()
        .fails(2, "connection lost")
        .panics(1, "index out of bounds")
        .completes(1)
        .after(secs(5))
        .runs_until_stopped(1)
        .then_fails("no disk");
    let tree = TestTree::start(alone(restless(&script))).await;
    tree.until_running("c", 5).await;
    assert_eq!((script.runs(), script.alive()), (5, 1));
    assert_eq!(script.delays(), [ms(10); 4]);
    let runs = script.recorded();
    assert_eq!(runs[3].ended.unwrap() - runs[3].began, secs(5));
    tokio::time::sleep(secs(3600)).await;
    assert_eq!(script.runs(), 5, "it runs until it is stopped");
    tree.restart_child("c", &by()).await.unwrap();
    tree.until_exits("c", 8).await;
    let exits = exits(&tree);
    assert_eq!(
        exits[..2],
        ["failed 1: connection lost", "failed 2: connection lost"]
    );
    assert!(exits[2].starts_with("panicked 3: ") && exits[2].ends_with("index out of bounds"));
    assert_eq!(
        exits[3..],
        [
            "completed 4",
            "cancelled 5",
            "failed 6: no disk",
            "failed 7: no disk",
            "failed 8: no disk"
        ]
    );
    assert_eq!(
        script.stop_causes()[3..6],
        [None, Some(StopCause::Restart), None]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_fatal_step_keeps_its_child_down_and_a_job_may_complete() {
    let (fatal, job) = (
        Script::new().fails_fatally("schema 3 is too old"),
        Script::new().then_completes(),
    );
    let spec = alone(restless(&fatal)).child(ChildSpec::job("job", job.task()));
    let tree = TestTree::start(spec).await;
    tree.until_status("c", "failed").await;
    tree.until_status("job", "finished").await;
    tokio::time::sleep(secs(3600)).await;
    assert_eq!((fatal.runs(), job.runs()), (1, 1));
    assert_eq!((fatal.alive(), job.alive()), (0, 0));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_says_that_it_is_ready_when_the_script_does() {
    let script = Script::new().then_runs().ready_after(secs(3));
    let began = Instant::now();
    let child = restless(&script).readiness(ReadinessPolicy::Explicit);
    let tree = TestTree::start(alone(child)).await;
    assert_eq!(began.elapsed(), secs(3));
    tree.shutdown_clean().await;

    let hangs = Script::new().then_runs().never_ready();
    let child = restless(&hangs)
        .readiness(ReadinessPolicy::Explicit)
        .start_timeout(secs(7));
    let began = Instant::now();
    let error = TestTree::try_start(alone(child))
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, SupervisorError::StartFailed { .. }),
        "{error}"
    );
    assert_eq!(began.elapsed(), secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_at_once_has_started() {
    for script in [
        Script::new().fails(1, "connection lost"),
        Script::new()
            .fails(1, "connection lost")
            .ready_after(secs(1)),
    ] {
        let tree = TestTree::start(alone(restless(&script))).await;
        tree.until_running("c", 2).await;
        assert_eq!(exits(&tree), ["failed 1: connection lost"]);
        tree.shutdown_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_never_ready_fails_its_start_whatever_the_readiness() {
    for readiness in [ReadinessPolicy::Immediate, ReadinessPolicy::Explicit] {
        let script = Script::new().fails(1, "no database").never_ready();
        let child = restless(&script).readiness(readiness);
        let error = TestTree::try_start(alone(child))
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "/c could not be started: failed: no database"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_stops_as_its_script_says() {
    let script = Script::new()
        .runs_until_stopped(1)
        .stops_after(secs(2))
        .then_runs()
        .deaf();
    let tree = TestTree::start(alone(restless(&script).grace(secs(4)))).await;
    let asked = Instant::now();
    tree.restart_child("c", &by()).await.unwrap();
    tree.until_running("c", 2).await;
    assert_eq!(asked.elapsed(), secs(2));
    let asked = Instant::now();
    let result = tree.shutdown_clean().await;
    assert_eq!(
        result.report.children[0].status,
        ChildShutdownStatus::Aborted
    );
    assert_eq!(script.recorded()[1].ended, Some(asked + secs(4)));
    assert_eq!(
        script.stop_causes(),
        [Some(StopCause::Restart), Some(StopCause::Shutdown)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_beats_until_its_script_has_it_fall_silent() {
    let script = Script::new().runs_until_stopped(1).silent_after(secs(60));
    let child = restless(&script).heartbeat_within(secs(3));
    let tree = TestTree::start(alone(child)).await;
    tokio::time::sleep(secs(60)).await;
    assert_eq!(script.runs(), 1, "it beats");
    tree.until_running("c", 2).await;
    assert!(exits(&tree)[0].starts_with("unhealthy 1"));
    assert_eq!(script.stop_causes(), [Some(StopCause::Unhealthy)]);
    tokio::time::sleep(secs(3600)).await;
    assert_eq!(script.runs(), 2, "it beats");
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_test_ends_the_run_that_is_alive() {
    let script = Script::new();
    let tree = TestTree::start(alone(restless(&script))).await;
    script.fail("as ordered");
    tree.until_running("c", 2).await;
    script.panic("as ordered");
    tree.until_running("c", 3).await;
    script.complete();
    tree.until_running("c", 4).await;
    let exits = exits(&tree);
    assert_eq!(exits[0], "failed 1: as ordered");
    assert!(exits[1].starts_with("panicked 2: "));
    assert_eq!(exits[2..], ["completed 3"]);
    tree.pause_child("c", &by()).await.unwrap();
    let message = panics(async { script.fail("nobody hears it") }).await;
    assert!(
        message.starts_with("no run of this script is alive"),
        "{message}"
    );
    tree.resume_child("c", &by()).await.unwrap();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(
        script.runs(),
        5,
        "an order that nobody heard ends no later run"
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_one_child_at_once_are_told() {
    let script = Script::new();
    let (task, ctx) = (script.task(), TaskContext::detached("c"));
    let (first, second) = (task(ctx.clone()), task(ctx));
    drop((first, second));
    let message = panics(async { drop(script) }).await;
    assert_eq!(
        message,
        "two runs of one child were alive at once: run 1 of /c began while run 1 was alive"
    );
}

#[tokio::test]
async fn a_tree_in_real_time_is_refused() {
    let message =
        panics(async { drop(TestTree::start(alone(restless(&Script::new()))).await) }).await;
    assert!(
        message.starts_with("time is not paused at tests/testkit.rs:"),
        "{message}"
    );
    assert!(message.contains("#[tokio::test(start_paused = true)]"));
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_does_not_start_says_why_and_where() {
    let broken = Script::new().then_fails("no database").never_ready();
    let message = panics(async { drop(TestTree::start(alone(restless(&broken))).await) }).await;
    assert!(
        message.starts_with("the tree that tests/testkit.rs:"),
        "{message}"
    );
    assert!(
        message.ends_with("/c could not be started: failed: no database"),
        "{message}"
    );

    let hangs = Script::new().then_runs().never_ready();
    let child = restless(&hangs)
        .readiness(ReadinessPolicy::Explicit)
        .start_timeout(secs(3600));
    let message = panics(async { drop(TestTree::start(alone(child)).await) }).await;
    assert!(message.contains("has not after 600s"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_shows_the_tree_and_what_happened_last() {
    let script = Script::new().fails(1, "connection lost");
    let tree = TestTree::start(alone(restless(&script))).await;
    let began = Instant::now();
    let message = panics(tree.until_running("c", 3)).await;
    assert_eq!(began.elapsed(), secs(600));
    assert!(
        message.starts_with("/c did not come to run 3 within 600s\n  at tests/testkit.rs:"),
        "{message}"
    );
    assert!(message.contains("└─ c"), "the tree: {message}");
    assert!(
        message.contains("+0.000s /c failed 1: connection lost\n"),
        "{message}"
    );
    assert!(message.contains("+0.010s /c ready 2\n"), "{message}");

    let tree = tree.wait_limit(secs(5));
    let began = Instant::now();
    for message in [
        panics(tree.until_status("c", "quarantined")).await,
        panics(tree.until_exits("c", 2)).await,
        panics(tree.until(|| false)).await,
        panics(async { drop(tree.until_event(|_| false).await) }).await,
    ] {
        assert!(
            message.contains(" within 5s\n  at tests/testkit.rs:"),
            "{message}"
        );
    }
    assert_eq!(began.elapsed(), secs(20));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_tree() {
    let script = Script::new();
    let tree = TestTree::start(alone(restless(&script))).await;
    let began = Instant::now();
    tree.shutdown_clean().await;
    tree.until_status("c", "finished").await;
    let message = panics(tree.until_status("c", "paused")).await;
    assert!(
        message.starts_with("/c did not come to be paused before the tree ended"),
        "{message}"
    );
    let message = panics(tree.until_running("c", 2)).await;
    assert!(
        message.starts_with("/c did not come to run 2 before the tree ended"),
        "{message}"
    );
    assert!(began.elapsed() < secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_sees_what_has_happened_already() {
    let script = Script::new().fails(3, "connection lost");
    let tree = TestTree::start(alone(restless(&script))).await;
    tokio::time::sleep(secs(60)).await;
    let now = Instant::now();
    tree.until_running("c", 2).await;
    tree.until_exits("c", 3).await;
    let exited = |kind: &_| {
        matches!(
            kind,
            rust_supervisor::EventKind::Lifecycle(LifecycleEvent::Exited { .. })
        )
    };
    let first = tree.until_event(|event| exited(&event.kind)).await;
    assert_eq!(first.generation, 1);
    assert_eq!(now.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn everything_since_the_start_is_recorded_however_far_the_test_is_behind() {
    let script = Script::new().fails(90, "connection lost");
    let spec = alone(restless(&script)).event_channel_capacity(8);
    let tree = TestTree::start(spec).await;
    tokio::time::sleep(secs(60)).await;
    let events = tree.events();
    assert!(events.len() > 4 * 90);
    assert!(
        events
            .iter()
            .map(|event| event.sequence)
            .eq(1..=events.len() as u64)
    );

    let script = Script::new().fails(90, "connection lost");
    let tree = TestTree::start(alone(restless(&script)).journal_capacity(8)).await;
    tokio::time::sleep(secs(60)).await;
    let message = panics(async { drop(tree.events()) }).await;
    assert!(message.contains("larger journal_capacity"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_history_tells_commands_and_consequences() {
    let script = Script::new().then_fails("connection lost");
    let child = restless(&script).fuse(1, secs(60));
    let tree = TestTree::start(alone(child)).await;
    tree.until_status("c", "quarantined").await;
    assert_eq!(
        tree.history("c")[..8],
        [
            "starting 1",
            "ready 1",
            "failed 1: connection lost",
            "backing off 10ms",
            "starting 2",
            "ready 2",
            "failed 2: connection lost",
            "fuse blown: 2 of 1",
        ]
    );
    assert!(tree.history("c")[8].starts_with("quarantined: "));
    let removed = tree.remove_child("c", &by()).await;
    assert!(removed.is_ok());
    let history = tree.history("c");
    assert!(
        history.contains(&"told remove_child".to_owned()),
        "{history:?}"
    );
    assert!(history.contains(&"removed".to_owned()), "{history:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_tells_of_all_in_their_order() {
    let (a, b) = (Script::new(), Script::new());
    let spec = SupervisorSpec::one_for_all("t")
        .child(ChildSpec::worker("a", a.task()).backoff(None))
        .child(ChildSpec::worker("b", b.task()));
    let tree = TestTree::start(spec).await;
    a.fail("connection lost");
    tree.until_running("b", 2).await;
    let mut log = tree.log();
    log.retain(|line| line.contains(" start") || line.contains("ed "));
    assert_eq!(
        log,
        [
            "/ starting 1",
            "/a starting 1",
            "/b starting 1",
            "/a failed 1: connection lost",
            "/b cancelled 1",
            "/a starting 2",
            "/b starting 2",
        ]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_child_let_go_fails_the_shutdown() {
    let child = ChildSpec::worker("c", |ctx: TaskContext| async move {
        tokio::spawn(std::future::pending::<()>());
        ctx.cancelled().await;
    });
    let tree = TestTree::start(alone(child)).await;
    let message = panics(async { drop(tree.shutdown_clean().await) }).await;
    assert!(
        message.starts_with("tasks left alive that were not there before the start: 1."),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_with_its_tree_has_time_to() {
    let others = tokio::spawn(std::future::pending::<()>());
    let child = ChildSpec::worker("c", |ctx: TaskContext| async move {
        let stopped = ctx.cancelled_owned();
        tokio::spawn(async move {
            stopped.await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        ctx.cancelled().await;
    });
    TestTree::start(alone(child)).await.shutdown_clean().await;
    others.abort();
}

#[tokio::test(start_paused = true)]
async fn a_thread_left_alive_fails_the_shutdown_by_name() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let begun = Arc::new(Notify::new());
    let child = ChildSpec::worker("c", {
        let begun = begun.clone();
        move |ctx: TaskContext| {
            let (held, begun) = (held.clone(), begun.clone());
            async move {
                ctx.spawn_blocking(move || {
                    begun.notify_one();
                    held.lock().unwrap().recv()
                });
                ctx.cancelled().await;
            }
        }
    });
    // Virtual time stands still while the thread lives: nothing is waited for.
    let spec = alone(child.grace(ms(0))).abort_wait(ms(0));
    let tree = TestTree::start(spec).await;
    // One that has not begun is ended like any other task.
    begun.notified().await;
    let message = panics(async { drop(tree.shutdown_clean().await) }).await;
    drop(release);
    assert!(message.contains("NOT CLEAN"), "{message}");
    assert!(
        message.contains("still alive: /c run 1, thread started at"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tree_may_be_dropped_without_a_shutdown() {
    let script = Script::new();
    drop(TestTree::start(alone(restless(&script))).await);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(script.stop_causes(), [Some(StopCause::Shutdown)]);
}

#[tokio::test(start_paused = true)]
async fn jitter_is_the_same_in_every_test_unless_another_seed_is_given() {
    // Without a seed a delay depends on the process, and on how many children were there before.
    static TREES: AtomicUsize = AtomicUsize::new(0);
    fn others(mut spec: SupervisorSpec) -> SupervisorSpec {
        for other in 0..TREES.fetch_add(1, Ordering::Relaxed) {
            spec = spec.child(ChildSpec::worker(
                format!("other{other}"),
                Script::new().task(),
            ));
        }
        spec
    }
    async fn delays(seed: Option<u64>, own: Option<u64>) -> Vec<Vec<std::time::Duration>> {
        let mut backoff = Backoff::constant(secs(100)).jitter(Jitter::Full);
        if let Some(own) = own {
            backoff = backoff.seed(own);
        }
        let (short, long) = (
            Script::new().fails(5, "lost"),
            Script::new().fails(5, "lost"),
        );
        let stack = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(BackoffLayer::new(backoff))
            .service(service_fn(long.task()));
        let mut spec = SupervisorSpec::one_for_one("t").supervisor(
            others(SupervisorSpec::one_for_one("nested"))
                .child(ChildSpec::worker("short", short.task()).backoff(backoff))
                .child(ChildSpec::new("long", stack)),
        );
        if let Some(seed) = seed {
            spec = spec.jitter_seed(seed);
        }
        let tree = TestTree::start(spec).await;
        tree.until_running("nested/short", 6).await;
        tree.until_running("nested/long", 6).await;
        tree.shutdown_clean().await;
        vec![short.delays(), long.delays()]
    }
    let usual = delays(None, None).await;
    assert_eq!(usual, delays(None, None).await);
    assert_ne!(usual[0], usual[1], "children differ");
    let other = delays(Some(7), None).await;
    assert_eq!(other, delays(Some(7), None).await);
    for child in 0..2 {
        assert_ne!(usual[child], other[child], "the seed reaches it");
    }
    let own = delays(None, Some(42)).await;
    assert_eq!(
        own,
        delays(Some(7), Some(42)).await,
        "a backoff's own seed goes before"
    );
    assert_ne!(own, usual);
}
