//! Suture speaks of services, which are children here; its one limit over all services and the pause that follows
//! are our fuse and its quarantine with an end.

use rust_supervisor::{
    Change, ChildPolicy, ChildShutdownStatus, ChildSpec, EscalationPolicy, EventItem, EventKind,
    ExitOutcome, LifecycleEvent, RestartType, SupervisorError, SupervisorSpec, TaskContext,
    TaskFailure, TaskResult, TreeEvent, ms, secs,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    case::{Case, Source, case},
    given::{
        HOUR, MINUTE, add, children, crash, generation, gone, idle, plain, remove, state,
        status_of, stays, steady,
    },
    support::{Switchboard, by, comes_to, deaf, running, shut_down, start, status, until, within},
};

pub(crate) const SOURCE: Source = Source {
    title: "suture v4",
    about: "All tests of `v4/*_test.go` and its example. A service is a child; the failure limit of a supervisor, after \
            which it pauses, is a child's fuse with a quarantine that ends; cancelling the context is `cancel_on` or \
            `shutdown_tree`.",
    module: "suture",
    cases: &[CASES],
};

const CASES: &[Case] = &[
    case!(
        "TestTheHappyCase",
        the_happy_case,
        "A service that fails runs again, and stops when its supervisor's context is cancelled."
    ),
    case!(
        "TestAddingToRunningSupervisor",
        adding_to_running_supervisor,
        "A service added to a running supervisor is started and listed."
    ),
    case!(
        "TestFailures",
        failures,
        "Failures and panics are counted and the service runs again; one too many and it waits, while others run on; \
         then it runs again with its count as new. (Here each counts for itself, and old ones leave a window instead \
         of fading.)"
    ),
    Case::explained(
        "TestRunningAlreadyRunning",
        "A supervisor that already serves refuses to serve a second time.",
        "starting consumes the declaration: a running tree cannot be started again",
    ),
    case!(
        "TestFullConstruction",
        full_construction,
        "What a supervisor is made with can be read back."
    ),
    case!(
        "TestDefaultLogging",
        default_logging,
        "Failures, panics and stops that time out are told without anybody having set anything up."
    ),
    case!(
        "TestNestedSupervisors",
        nested_supervisors,
        "A supervisor may be a service of another, whose observers see what happens below it, too."
    ),
    case!(
        "TestStoppingSupervisorStopsServices",
        stopping_supervisor_stops_services,
        "Services stop with their supervisor, which afterwards says that it does not run."
    ),
    case!(
        "TestStoppingStillWorksWithHungServices",
        stopping_still_works_with_hung_services,
        "A service that hangs does not keep its supervisor from stopping, and is told of."
    ),
    case!(
        "TestRemovingHungService",
        removing_hung_service,
        "A service that hangs can be removed, and is told of."
    ),
    case!(
        "TestRemoveService",
        remove_service,
        "A removed service is stopped; one of another supervisor cannot be removed here."
    ),
    case!(
        "TestServiceReport",
        service_report,
        "After the stop a report names the services that did not end."
    ),
    Case::explained(
        "TestFailureToConstruct",
        "Serving a supervisor that was not constructed panics.",
        NO_NIL,
    ),
    Case::explained(
        "TestNilSupervisorAdd",
        "Adding to no supervisor panics.",
        NO_NIL,
    ),
    Case::explained(
        "TestPassNoContextToSupervisor",
        "A supervisor served without a context makes its own.",
        "`cancel_on` is optional; every other test here starts without it",
    ),
    Case::explained(
        "TestNilSupervisorPanicsAsExpected",
        "Serving no supervisor panics with a helpful text.",
        NO_NIL,
    ),
    case!(
        "TestIssue11",
        issue11,
        "A supervisor may be added to a running one, and be added to at once; nothing races. (Fifty children come to \
         it together, on several threads.)"
    ),
    case!(
        "TestRemoveAndWait",
        remove_and_wait,
        "Removing waits for the service's end: at once for one that stops, for its time with one that hangs, and \
         with an answer when the supervisor stops meanwhile or the service is no longer there."
    ),
    case!(
        "TestSupervisorManagementIssue35",
        supervisor_management_issue35,
        "A hundred nested supervisors of the same sort start and are cancelled at once without a panic. (Here each \
         has a name of its own.)"
    ),
    Case::explained(
        "TestCoverage",
        "Calls what no other test calls; demands nothing.",
        "nothing is demanded",
    ),
    case!(
        "TestStopAfterRemoveAndWait",
        stop_after_remove_and_wait,
        "A stop after a removal waits for nobody who was removed, and no time-out is told."
    ),
    case!(
        "TestServiceAndTreeTermination",
        service_and_tree_termination,
        "A service may say that it is done for good, and does not run again; or that the whole tree is to end, and \
         all end."
    ),
    case!(
        "TestDoNotPropagate",
        do_not_propagate,
        "A subtree may be set to end alone: the supervisor above it and its other services run on."
    ),
    Case::explained(
        "TestShim",
        "Services written for suture's former interface still work.",
        "there is no former interface; what stops at a token of its own is driven by `ctx.cancellation_token()`",
    ),
    Case::explained(
        "TestEverMultistarted",
        "Shows that the suite's service notices when it is started twice; skipped there.",
        "a test of suture's own test service; that no child runs twice at once is shown in `traps`",
    ),
    case!(
        "TestAddAfterStopping",
        add_after_stopping,
        "Adding to a supervisor that has stopped is answered and does not hang."
    ),
    case!(
        "TestIssue77",
        issue77,
        "A service that returns somebody else's cancellation has failed and runs again."
    ),
    case!(
        "TestCompleteJob",
        complete_job,
        "A service may run to its end and is then not started again."
    ),
    case!(
        "ExampleNew_simple",
        the_happy_case,
        "A service runs until its supervisor is cancelled, and can tidy up then."
    ),
];

const NO_NIL: &str = "there are no null references";

#[tokio::test(start_paused = true)]
async fn the_happy_case() {
    let board = Switchboard::new();
    let token = CancellationToken::new();
    let tree = SupervisorSpec::one_for_one("A")
        .cancel_on(token.clone())
        .child(board.child("B"));
    let handle = start(tree).await;
    assert_eq!(handle.name(), "A");
    crash(&board, &handle, "B").await;
    token.cancel();
    let report = within(handle.join()).await;
    assert_eq!(report.outcome, ExitOutcome::ShutDown);
    assert!(report.shutdown.unwrap().clean);
    assert_eq!(board.log(), ["+B1", "!B1", "+B2", "-B2"]);
}

#[tokio::test(start_paused = true)]
async fn adding_to_running_supervisor() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("A1")).await;
    add(&handle, "/", board.child("B1")).await.unwrap();
    assert_eq!(board.log(), ["+B11"]);
    assert_eq!(children(&handle, "/"), ["B1 running"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn failures() {
    let board = Switchboard::new();
    let service = |id| {
        let child = board.child(id).backoff(None).fuse(3, MINUTE);
        child.quarantine_for(secs(15))
    };
    let tree = SupervisorSpec::one_for_one("A2")
        .child(service("B2"))
        .child(service("C2"));
    let handle = start(tree).await;
    let used = |path| state(&handle, path).fuse.unwrap().used;
    crash(&board, &handle, "B2").await;
    assert_eq!(used("B2"), 1);
    crash(&board, &handle, "C2").await;
    assert_eq!((used("B2"), used("C2")), (1, 1));

    // The first leaves the window, two more come.
    tokio::time::sleep(MINUTE + ms(1)).await;
    crash(&board, &handle, "B2").await;
    assert_eq!(used("B2"), 1);
    board.panic("B2");
    running(&handle, "B2", 4).await;
    crash(&board, &handle, "B2").await;
    assert_eq!(used("B2"), 3);

    // One too many: it waits, alone.
    let since = Instant::now();
    board.fail("B2");
    comes_to(&handle, "B2", "quarantined").await;
    assert_eq!(status_of(&handle, "C2"), "running");
    tokio::time::sleep(secs(14)).await;
    assert_eq!(generation(&handle, "B2"), 5);
    running(&handle, "B2", 6).await;
    assert_eq!(since.elapsed(), secs(15));
    crash(&board, &handle, "B2").await;
    assert_eq!(used("B2"), 1, "counted as new");
    assert_eq!(generation(&handle, "C2"), 2);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn full_construction() {
    let tree = SupervisorSpec::one_for_one("Moo").intensity(2, secs(3));
    let child = ChildSpec::worker("x", idle)
        .grace(secs(29))
        .fuse(4, secs(5));
    let handle = start(tree.child(child.backoff(steady(secs(6))))).await;
    assert_eq!(handle.name(), "Moo");
    let limit = state(&handle, "/").supervisor.unwrap().intensity.limit;
    assert_eq!((limit.failures, limit.window), (2, secs(3)));
    let settings = state(&handle, "x").settings;
    let fuse = settings.fuse.unwrap();
    assert_eq!((fuse.failures, fuse.window), (4, secs(5)));
    assert_eq!(settings.grace, Some(secs(29)));
    assert_eq!(settings.backoff, Some(steady(secs(6))));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn default_logging() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("A4")
        .child(plain(board.child("B4")))
        .child(deaf("hung").grace(secs(1)));
    let handle = start(tree).await;
    crash(&board, &handle, "B4").await;
    board.panic("B4");
    running(&handle, "B4", 3).await;
    assert!(shut_down(&handle).await.clean);
    let mut events = handle.subscribe_events_from(1);
    let mut told = Vec::new();
    while let Some(EventItem::Event(event)) = events.next().await {
        match event.kind {
            EventKind::Lifecycle(LifecycleEvent::Exited { exit, .. }) if !event.path.is_root() => {
                told.push(format!("{} {exit}", event.path));
            }
            EventKind::Tree(TreeEvent::ChildShutdown { status }) => {
                told.push(format!("{} {status:?}", event.path));
            }
            _ => {}
        }
    }
    assert_eq!(
        told,
        [
            "/B4 failed",
            "/B4 panicked",
            "/hung aborted",
            "/hung Aborted",
            "/B4 cancelled",
            "/B4 Graceful"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nested_supervisors() {
    let board = Switchboard::new();
    let nested = SupervisorSpec::one_for_one("Nested5").child(board.child("Service5"));
    let handle = start(SupervisorSpec::one_for_one("Top5").supervisor(nested)).await;
    // The one stream of the tree tells of it.
    crash(&board, &handle, "Nested5/Service5").await;
    assert!(shut_down(&handle).await.clean);
    assert_eq!(board.log().last().unwrap(), "-Service52");
}

#[tokio::test(start_paused = true)]
async fn stopping_supervisor_stops_services() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("Top6").child(board.child("Service6"))).await;
    assert!(shut_down(&handle).await.clean);
    assert_eq!(board.log(), ["+Service61", "-Service61"]);
    assert!(!handle.is_alive());
    let error = within(handle.restart_child("Service6", &by()))
        .await
        .unwrap_err();
    assert_eq!(error, SupervisorError::ShuttingDown);
    assert!(
        children(&handle, "/")
            .iter()
            .all(|child| !child.ends_with("running")),
        "no service runs"
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_still_works_with_hung_services() {
    let tree = SupervisorSpec::one_for_one("Top7").child(deaf("hung").grace(secs(10)));
    let handle = start(tree).await;
    let began = Instant::now();
    let result = shut_down(&handle).await;
    assert_eq!(began.elapsed(), secs(10));
    assert!(result.clean);
    assert_eq!(status(&result, "/hung"), ChildShutdownStatus::Aborted);
}

#[tokio::test(start_paused = true)]
async fn removing_hung_service() {
    let tree = SupervisorSpec::one_for_one("Top").child(deaf("hung").grace(secs(10)));
    let handle = start(tree).await;
    let began = Instant::now();
    remove(&handle, "hung").await;
    assert_eq!(began.elapsed(), secs(10));
    assert!(children(&handle, "/").is_empty());
    crate::support::event(&handle, |event| {
        event.path.as_str() == "/hung" && event.kind == EventKind::Tree(TreeEvent::Removed)
    })
    .await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn remove_service() {
    let board = Switchboard::new();
    let here = start(SupervisorSpec::one_for_one("here").child(board.child("x"))).await;
    let there = start(SupervisorSpec::one_for_one("there").child(board.child("y"))).await;
    let error = within(here.remove_child("y", &by())).await.unwrap_err();
    assert!(
        matches!(error, SupervisorError::UnknownPath { .. }),
        "{error}"
    );
    assert_eq!(status_of(&there, "y"), "running");
    remove(&here, "x").await;
    assert_eq!(board.log(), ["+x1", "+y1", "-x1"]);
    assert!(shut_down(&here).await.clean && shut_down(&there).await.clean);
}

/// In real time: a thread cannot be paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_report() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let service = ChildSpec::blocking("ServiceName", move |_| {
        let _ = held.lock().unwrap().recv();
    });
    let tree = SupervisorSpec::one_for_one("Top")
        .abort_wait(ms(10))
        .child(service.grace(ms(10)));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    drop(release);
    assert!(!result.clean);
    let left = &result.report.reconcile.stragglers;
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].path.as_str(), left[0].generation),
        ("/ServiceName", 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn issue11() {
    let handle = start(SupervisorSpec::one_for_one("main")).await;
    let sub = SupervisorSpec::one_for_one("sub").child(ChildSpec::worker("own", idle));
    add(&handle, "/", sub).await.unwrap();
    let adding: Vec<_> = (0..50)
        .map(|at| {
            let handle = handle.clone();
            let child = ChildSpec::worker(at.to_string(), idle);
            tokio::spawn(async move { handle.add_child("sub", child, &by()).await })
        })
        .collect();
    for added in adding {
        within(added).await.unwrap().unwrap();
    }
    assert_eq!(children(&handle, "sub").len(), 51);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn remove_and_wait() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("main")).await;
    let removal = async |path: &str| {
        let began = Instant::now();
        let removed = within(handle.remove_child(path, &by())).await;
        (removed.map(|done| done.change), began.elapsed())
    };
    add(&handle, "/", board.child("A1")).await.unwrap();
    assert_eq!(removal("A1").await, (Ok(Change::Done), ms(0)));
    // Again: it is answered, at once.
    let (again, took) = removal("A1").await;
    assert!(matches!(again, Err(SupervisorError::UnknownPath { .. })));
    assert_eq!(took, ms(0));

    add(&handle, "/", deaf("A2").grace(secs(2))).await.unwrap();
    assert_eq!(removal("A2").await, (Ok(Change::Done), secs(2)));

    // The caller may have less patience; the removal goes on.
    add(&handle, "/", deaf("A3").grace(secs(2))).await.unwrap();
    let (path, by) = ("A3", by());
    let impatient = tokio::time::timeout(ms(1), handle.remove_child(path, &by)).await;
    assert!(impatient.is_err());
    gone(&handle, "A3").await;

    // It takes long, but less than its grace.
    let slow = ChildSpec::worker("A4", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(1)).await;
    });
    add(&handle, "/", slow.grace(secs(2))).await.unwrap();
    assert_eq!(removal("A4").await, (Ok(Change::Done), secs(1)));

    // The supervisor stops meanwhile.
    add(&handle, "/", deaf("A5").grace(secs(2))).await.unwrap();
    let removing = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.remove_child("A5", &crate::support::by()).await })
    };
    comes_to(&handle, "A5", "stopping").await;
    assert!(shut_down(&handle).await.clean);
    assert!(within(removing).await.unwrap().is_ok());
    let (late, _) = removal("A5").await;
    assert_eq!(late, Err(SupervisorError::ShuttingDown));
}

#[tokio::test(start_paused = true)]
async fn supervisor_management_issue35() {
    let token = CancellationToken::new();
    let mut tree = SupervisorSpec::one_for_one("issue 35").cancel_on(token.clone());
    for at in 0..100 {
        tree = tree.supervisor(SupervisorSpec::one_for_one(format!("test {at}")));
    }
    let handle = start(tree).await;
    token.cancel();
    let report = within(handle.join()).await;
    let shutdown = report.shutdown.unwrap();
    assert!(shutdown.clean);
    assert_eq!(shutdown.report.children.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn stop_after_remove_and_wait() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("main")).await;
    add(&handle, "/", board.child("A1")).await.unwrap();
    remove(&handle, "A1").await;
    let result = shut_down(&handle).await;
    assert!(result.clean && !result.report.timed_out);
    assert_eq!(result.report.took, ms(0));
    assert!(result.report.children.is_empty(), "nobody is left to stop");
    assert!(result.report.reconcile.stragglers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn service_and_tree_termination() {
    let board = Switchboard::new();
    let terminator = {
        let board = board.clone();
        ChildSpec::worker("service1", move |ctx: TaskContext| {
            let board = board.clone();
            async move {
                until(|| board.log().contains(&"!service21".to_owned()) || ctx.is_cancelled())
                    .await;
                TaskResult::Err(TaskFailure::fatal("the tree is to end").into())
            }
        })
    };
    let inner = SupervisorSpec::one_for_one("two")
        .escalation(EscalationPolicy::ShutdownTree)
        .child(terminator.significant())
        .child(plain(board.child("service2")))
        .child(board.child("service3"));
    let handle = start(SupervisorSpec::one_for_one("one").supervisor(inner)).await;
    board.fatal("service3");
    comes_to(&handle, "two/service3", "failed").await;
    stays(&handle, "two/service3", "failed").await;
    // The word for the other.
    board.fail("service2");
    let report = within(handle.join()).await;
    assert!(report.shutdown.unwrap().clean);
    let log = board.log();
    assert!(log.contains(&"-service22".to_owned()), "{log:?}");
    assert!(!log.contains(&"+service32".to_owned()), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn do_not_propagate() {
    let board = Switchboard::new();
    let subtree = SupervisorSpec::one_for_one("subtree")
        .policy(ChildPolicy::bare(RestartType::Temporary))
        .intensity(0, HOUR)
        .child(plain(board.child("service2")));
    let tree = SupervisorSpec::one_for_one("parent")
        .intensity(0, HOUR)
        .child(board.child("service1"))
        .supervisor(subtree);
    let handle = start(tree).await;
    board.fail("service2");
    gone(&handle, "subtree").await;
    stays(&handle, "service1", "running").await;
    assert!(handle.is_alive());
    assert!(shut_down(&handle).await.clean);

    // Or held where it is.
    let subtree = SupervisorSpec::one_for_one("subtree")
        .escalation(EscalationPolicy::QuarantineScope)
        .intensity(0, HOUR)
        .child(plain(board.child("service2")));
    let tree = SupervisorSpec::one_for_one("parent")
        .child(board.child("service1"))
        .supervisor(subtree);
    let handle = start(tree).await;
    board.fail("service2");
    comes_to(&handle, "subtree", "quarantined").await;
    stays(&handle, "service1", "running").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn add_after_stopping() {
    let token = CancellationToken::new();
    let handle = start(SupervisorSpec::one_for_one("main").cancel_on(token.clone())).await;
    token.cancel();
    within(handle.join()).await;
    let began = Instant::now();
    let error = add(&handle, "/", ChildSpec::worker("A1", idle))
        .await
        .unwrap_err();
    assert_eq!(error, SupervisorError::ShuttingDown);
    assert_eq!(began.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn issue77() {
    use rust_supervisor::TaskExit;
    let somebody_elses = CancellationToken::new();
    let foreign = somebody_elses.clone();
    let service = ChildSpec::worker("cancelling", move |ctx: TaskContext| {
        let foreign = foreign.clone();
        async move {
            if ctx.generation() == 1 {
                foreign.cancelled().await;
                return TaskResult::Err("context canceled".into());
            }
            ctx.cancelled().await;
            Ok(())
        }
    });
    let handle = start(SupervisorSpec::one_for_one("Issue77").child(plain(service))).await;
    somebody_elses.cancel();
    running(&handle, "cancelling", 2).await;
    let last = state(&handle, "cancelling").last_exit.unwrap();
    assert_eq!((last.generation, last.exit), (1, TaskExit::Failed));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn complete_job() {
    let board = Switchboard::new();
    let handle =
        start(SupervisorSpec::one_for_one("Supervisor").child(board.child("job").transient()))
            .await;
    board.complete("job");
    comes_to(&handle, "job", "finished").await;
    stays(&handle, "job", "finished").await;
    assert!(shut_down(&handle).await.clean);
    assert_eq!(board.log(), ["+job1", ".job1"]);
}
