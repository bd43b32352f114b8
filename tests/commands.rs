//! What commands do to a child.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rust_supervisor::{
    Backoff, Change, ChildSpec, ExitOutcome, SupervisorError, SupervisorHandle, SupervisorSpec,
    TaskContext, ms, secs, service_fn,
};
use support::{Switchboard, by, comes_to, deaf, running, shut_down, start, within};

const HOUR: Duration = Duration::from_secs(3600);

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_is_over_before_anybody_looks_is_done() {
    let handle = start(SupervisorSpec::one_for_one("t").child(ChildSpec::worker("a", idle))).await;
    for run in 2..200 {
        let outcome = within(handle.restart_child("a", &by())).await.unwrap();
        assert_eq!((outcome.change, outcome.generation), (Change::Done, run));
    }
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
}

/// Brings one child, `x`, into the state of this name.
async fn in_state(state: &str) -> (SupervisorHandle, Switchboard) {
    let board = Switchboard::new();
    let x = match state {
        "backing_off" => board.child("x").backoff(Backoff::constant(HOUR)),
        "finished" => board.child("x").transient(),
        "stopping" | "held" => deaf("x").grace(secs(30)),
        _ => board.child("x").backoff(None),
    };
    let far = board.child("a").backoff(Backoff::constant(HOUR));
    let tree = match state {
        "waiting" => SupervisorSpec::one_for_all("t").child(far),
        _ => SupervisorSpec::one_for_one("t").child(board.child("a")),
    };
    let tree = match state {
        "starting" => tree,
        _ => tree.child(x),
    };
    let handle = start(tree).await;
    match state {
        "running" => {}
        "starting" => {
            let (handle, child) = (handle.clone(), board.explicit("x"));
            tokio::spawn(async move { handle.add_child("/", child, &by()).await });
        }
        "backing_off" => board.fail("x"),
        "paused" => drop(handle.pause_child("x", &by()).await.unwrap()),
        "quarantined" => drop(handle.quarantine_child("x", &by()).await.unwrap()),
        "finished" => board.complete("x"),
        "failed" => board.fatal("x"),
        "stopping" => {
            let handle = handle.clone();
            tokio::spawn(async move { handle.pause_child("x", &by()).await });
        }
        "held" => {
            let handle = handle.clone();
            tokio::spawn(async move { handle.quarantine_child("x", &by()).await });
        }
        "waiting" => board.fail("a"),
        other => panic!("{other}"),
    }
    let status = if state == "held" { "stopping" } else { state };
    comes_to(&handle, "x", status).await;
    (handle, board)
}

#[tokio::test(start_paused = true)]
async fn every_command_answers_in_every_state() {
    // What each command comes to and where it leaves the child; `!`: it does not apply, nothing changed.
    let table = [
        ("running", "pause", "Done paused"),
        ("running", "resume", "AlreadySo running"),
        ("running", "quarantine", "Done quarantined"),
        ("running", "restart", "Done running"),
        ("starting", "pause", "Done paused"),
        ("starting", "resume", "AlreadySo starting"),
        ("starting", "quarantine", "Done quarantined"),
        ("starting", "restart", "Done starting"),
        ("backing_off", "pause", "Done paused"),
        ("backing_off", "resume", "AlreadySo backing_off"),
        ("backing_off", "quarantine", "Done quarantined"),
        ("backing_off", "restart", "Done running"),
        ("paused", "pause", "AlreadySo paused"),
        ("paused", "resume", "Done running"),
        ("paused", "quarantine", "Done quarantined"),
        ("paused", "restart", "! paused"),
        ("quarantined", "pause", "! quarantined"),
        ("quarantined", "resume", "Done running"),
        ("quarantined", "quarantine", "AlreadySo quarantined"),
        ("quarantined", "restart", "! quarantined"),
        ("finished", "pause", "! finished"),
        ("finished", "resume", "! finished"),
        ("finished", "quarantine", "! finished"),
        ("finished", "restart", "Done running"),
        ("failed", "pause", "! failed"),
        ("failed", "resume", "! failed"),
        ("failed", "quarantine", "! failed"),
        ("failed", "restart", "Done running"),
        // The run ends at its grace; the pause that was under way is overtaken or stands.
        ("stopping", "pause", "AlreadySo paused"),
        ("stopping", "resume", "Done running"),
        ("stopping", "quarantine", "Done quarantined"),
        ("stopping", "restart", "! paused"),
        // Stopping, as somebody put it in quarantine.
        ("held", "pause", "! quarantined"),
        ("held", "resume", "Done running"),
        ("held", "quarantine", "AlreadySo quarantined"),
        ("held", "restart", "! quarantined"),
        // It starts with its group, in an hour.
        ("waiting", "pause", "Done paused"),
        ("waiting", "resume", "AlreadySo waiting"),
        ("waiting", "quarantine", "Done quarantined"),
        ("waiting", "restart", "Done running"),
    ];
    for (state, command, wanted) in table {
        let (handle, _board) = in_state(state).await;
        let by = by();
        let answer = tokio::time::timeout(2 * HOUR, async {
            match command {
                "pause" => handle.pause_child("x", &by).await,
                "resume" => handle.resume_child("x", &by).await,
                "quarantine" => handle.quarantine_child("x", &by).await,
                _ => handle.restart_child("x", &by).await,
            }
        })
        .await
        .expect("an answer");
        let (change, left_in) = wanted.split_once(' ').unwrap();
        match answer {
            Ok(outcome) => assert_eq!(format!("{:?}", outcome.change), change, "{state} {command}"),
            Err(SupervisorError::NotApplicable { ref path, .. }) if change == "!" => {
                assert_eq!(path.as_str(), "/x");
            }
            Err(error) => panic!("{state} {command}: {error}"),
        }
        let reached = tokio::time::timeout(HOUR, comes_to(&handle, "x", left_in)).await;
        let now = handle.child_state("x").unwrap().status;
        assert!(reached.is_ok(), "{state} {command}: {now}");
        within(handle.remove_child("x", &by)).await.unwrap();
        assert!(shut_down(&handle).await.clean, "{state} {command}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_names_nobody_says_who_is_nearest() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("storage").child(board.child("database"));
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    let by = by();
    let errors = [
        handle.pause_child("storage/databse", &by).await,
        handle.resume_child("storage/databse", &by).await,
        handle.quarantine_child("storage/databse", &by).await,
        handle.restart_child("storage/databse", &by).await,
        handle.remove_child("storage/databse", &by).await,
        handle
            .add_child("storage/databse", board.child("x"), &by)
            .await,
    ];
    for error in errors {
        let SupervisorError::UnknownPath { path, nearest } = error.unwrap_err() else {
            panic!("not the error")
        };
        assert_eq!(path.as_str(), "/storage/databse");
        assert_eq!(nearest.unwrap().as_str(), "/storage/database");
    }
    let error = handle
        .add_child("storage/database", board.child("x"), &by)
        .await;
    let path = "storage/database".into();
    assert_eq!(error.unwrap_err(), SupervisorError::NotASupervisor { path });
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn too_many_commands_at_a_time_are_refused_at_once() {
    let tree = SupervisorSpec::one_for_one("t")
        .control_channel_capacity(2)
        .child(deaf("a").grace(secs(10)))
        .child(deaf("b").grace(secs(10)))
        .child(deaf("c"));
    let handle = start(tree).await;
    let pause = |path: &'static str| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.pause_child(path, &by()).await })
    };
    let (a, b) = (pause("a"), pause("b"));
    comes_to(&handle, "b", "stopping").await;
    let error = handle.pause_child("c", &by()).await.unwrap_err();
    assert_eq!(error, SupervisorError::Busy { capacity: 2 });
    assert_eq!(
        handle.child_state("c").unwrap().status.as_str(),
        "running",
        "nothing changed"
    );
    within(a).await.unwrap().unwrap();
    within(b).await.unwrap().unwrap();
    within(handle.pause_child("c", &by())).await.unwrap();
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_future_is_dropped_is_carried_out() {
    let tree = SupervisorSpec::one_for_one("t")
        .child(deaf("a").grace(secs(10)))
        .child(deaf("b").grace(secs(10)));
    let handle = start(tree).await;
    let (by, short) = (by(), ms(10));
    let pause = tokio::time::timeout(short, handle.pause_child("a", &by)).await;
    let restart = tokio::time::timeout(short, handle.restart_child("b", &by)).await;
    assert!(pause.is_err() && restart.is_err(), "still under way");
    comes_to(&handle, "a", "paused").await;
    running(&handle, "b", 2).await;
    assert!(shut_down(&handle).await.report.reconcile.tasks_alive == 0);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_control_plane_takes_no_commands_and_supervision_goes_on() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").child(board.child("a"));
    let handle = start(tree).await;
    let report = within(handle.shutdown(&by())).await.unwrap();
    assert_eq!(report.outcome, ExitOutcome::ControlPlaneStopped);
    assert!(!handle.is_alive());
    for error in refusals(&handle, &board).await {
        assert_eq!(error, SupervisorError::ControlPlaneStopped);
    }
    board.fail("a");
    running(&handle, "a", 2).await;
    assert!(shut_down(&handle).await.clean);
    assert_eq!(within(handle.join()).await, report);
}

async fn refusals(handle: &SupervisorHandle, board: &Switchboard) -> [SupervisorError; 6] {
    let by = by();
    [
        handle.pause_child("a", &by).await.unwrap_err(),
        handle.resume_child("a", &by).await.unwrap_err(),
        handle.quarantine_child("a", &by).await.unwrap_err(),
        handle.restart_child("a", &by).await.unwrap_err(),
        handle.remove_child("a", &by).await.unwrap_err(),
        handle
            .add_child("/", board.child("x"), &by)
            .await
            .unwrap_err(),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_shuts_down_refuses_commands_at_once() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(deaf("z").grace(secs(10)));
    let handle = start(tree).await;
    let ending = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.shutdown_tree(&by()).await })
    };
    comes_to(&handle, "z", "stopping").await;
    let began = tokio::time::Instant::now();
    for error in refusals(&handle, &board).await {
        assert_eq!(error, SupervisorError::ShuttingDown);
    }
    assert_eq!(began.elapsed(), ms(0));
    within(ending).await.unwrap().unwrap();
    for error in refusals(&handle, &board).await {
        assert_eq!(error, SupervisorError::ShuttingDown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_under_way_is_answered_when_the_tree_shuts_down() {
    let board = Switchboard::new();
    let wait = Backoff::constant(HOUR);
    let tree = SupervisorSpec::one_for_all("t")
        .child(board.child("a").backoff(wait))
        .child(board.child("b"));
    let handle = start(tree).await;
    board.fail("a");
    comes_to(&handle, "b", "waiting").await;
    let restart = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.restart_child("b", &by()).await })
    };
    let ready = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.wait_ready("b").await })
    };
    tokio::time::sleep(secs(1)).await;
    assert!(shut_down(&handle).await.clean);
    assert!(within(restart).await.unwrap().is_err());
    assert!(within(ready).await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_the_shutdown_overtakes_is_answered_as_soon_as_its_run_has_ended() {
    let stops_in = |id: &str, time| {
        ChildSpec::worker(id, move |ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(time).await;
        })
    };
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(SupervisorSpec::one_for_one("n").child(stops_in("x", secs(1))))
        .child(stops_in("late", secs(4)));
    let handle = start(tree).await;
    let began = tokio::time::Instant::now();
    let restart = tokio::spawn({
        let handle = handle.clone();
        async move { (handle.restart_child("n/x", &by()).await, began.elapsed()) }
    });
    comes_to(&handle, "n/x", "stopping").await;
    let (result, answered) = tokio::join!(shut_down(&handle), restart);
    assert!(result.clean);
    let (answer, after) = answered.unwrap();
    assert!(
        matches!(answer, Err(SupervisorError::NotApplicable { .. })),
        "{answer:?}"
    );
    assert_eq!(after, secs(1));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_readiness_learns_of_it_or_why_it_will_not_come() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").child(board.child("a").transient());
    let handle = start(tree).await;
    assert_eq!(within(handle.wait_ready("a")).await.unwrap(), 1);
    let adding = {
        let (handle, slow) = (handle.clone(), board.explicit("slow"));
        tokio::spawn(async move { handle.add_child("/", slow, &by()).await })
    };
    comes_to(&handle, "slow", "starting").await;
    let waiting = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.wait_ready("slow").await })
    };
    tokio::time::sleep(secs(1)).await;
    assert!(!waiting.is_finished());
    board.ready("slow");
    assert_eq!(within(waiting).await.unwrap().unwrap(), 1);
    within(adding).await.unwrap().unwrap();

    within(handle.pause_child("slow", &by())).await.unwrap();
    board.complete("a");
    comes_to(&handle, "a", "finished").await;
    for (path, status) in [("slow", "paused"), ("a", "finished")] {
        let error = within(handle.wait_ready(path)).await.unwrap_err();
        assert!(error.to_string().contains(status), "{error}");
    }
    assert!(handle.wait_ready("nobody").await.is_err());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_bare_stack_is_paused_resumed_and_restarted_like_any_other() {
    let tree = SupervisorSpec::one_for_one("t")
        .grace(secs(1))
        .child(ChildSpec::new("polite", service_fn(idle)))
        .child(ChildSpec::new(
            "deaf",
            service_fn(|_: TaskContext| std::future::pending::<()>()),
        ));
    let handle = start(tree).await;
    for path in ["polite", "deaf"] {
        let paused = within(handle.pause_child(path, &by())).await.unwrap();
        assert_eq!(
            (paused.change, paused.status.as_str()),
            (Change::Done, "paused")
        );
        within(handle.resume_child(path, &by())).await.unwrap();
        running(&handle, path, 2).await;
        let again = within(handle.restart_child(path, &by())).await.unwrap();
        assert_eq!((again.change, again.generation), (Change::Done, 3));
        within(handle.quarantine_child(path, &by())).await.unwrap();
        within(handle.resume_child(path, &by())).await.unwrap();
        running(&handle, path, 4).await;
    }
    assert!(shut_down(&handle).await.clean);
}

/// Counts its runs that are alive, and notes their numbers.
#[derive(Default)]
struct Ledger {
    alive: AtomicUsize,
    last: AtomicU64,
    wrong: AtomicUsize,
}

fn crashing(id: &str, ledger: &Arc<Ledger>) -> ChildSpec {
    struct Alive(Arc<Ledger>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let ledger = ledger.clone();
    ChildSpec::worker(id, move |ctx: TaskContext| {
        let ledger = ledger.clone();
        async move {
            let overlaps = ledger.alive.fetch_add(1, Ordering::SeqCst) > 0;
            let alive = Alive(ledger.clone());
            let earlier = ledger.last.swap(ctx.generation(), Ordering::SeqCst);
            if overlaps || earlier >= ctx.generation() {
                ledger.wrong.fetch_add(1, Ordering::SeqCst);
            }
            for _ in 0..ctx.generation() % 7 {
                tokio::task::yield_now().await;
            }
            drop(alive);
            Err::<(), _>("crash")
        }
    })
    .fuse(20, secs(60))
    .backoff(Backoff::constant(ms(1)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_at_once_never_make_two_runs_of_one_child() {
    let ledgers: Vec<Arc<Ledger>> = (0..8).map(|_| Arc::default()).collect();
    let child = |at: usize| crashing(&format!("c{at}"), &ledgers[at]);
    let all = SupervisorSpec::one_for_all("all")
        .intensity(1_000_000, secs(60))
        .child(child(0).no_fuse())
        .child(child(1));
    let rest = SupervisorSpec::rest_for_one("rest")
        .intensity(1_000_000, secs(60))
        .child(child(2))
        .child(child(3).no_fuse());
    // Its own restarts add to what its children go through.
    let nested = SupervisorSpec::one_for_one("nested")
        .child(child(4))
        .child(child(5));
    let mut tree = SupervisorSpec::one_for_one("t").intensity(1_000_000, secs(60));
    tree = tree.supervisor(all).supervisor(rest).supervisor(nested);
    let tree = tree.child(child(6)).child(child(7));
    let handle = start(tree).await;
    let paths = [
        "all/c0",
        "all/c1",
        "rest/c2",
        "rest/c3",
        "nested/c4",
        "nested/c5",
        "c6",
        "c7",
        "nested",
        "all",
        "rest",
    ];
    let callers: Vec<_> = (0..100_usize)
        .map(|caller| {
            let handle = handle.clone();
            tokio::spawn(async move {
                for step in 0..20_usize {
                    let path = paths[(caller * 7 + step * 3) % paths.len()];
                    let by = by();
                    let answer = match (caller + step * 5) % 6 {
                        0 => handle.pause_child(path, &by).await,
                        1 | 2 => handle.resume_child(path, &by).await,
                        3 => handle.quarantine_child(path, &by).await,
                        _ => handle.restart_child(path, &by).await,
                    };
                    match answer {
                        Ok(_)
                        | Err(
                            SupervisorError::NotApplicable { .. } | SupervisorError::Busy { .. },
                        ) => {}
                        Err(other) => panic!("{path}: {other}"),
                    }
                }
            })
        })
        .collect();
    let answered = async {
        for caller in callers {
            caller.await.unwrap();
        }
    };
    let answered = tokio::time::timeout(secs(60), answered).await;
    assert!(answered.is_ok(), "{}", handle.current_state());
    let result = tokio::time::timeout(secs(40), handle.shutdown_tree(&by())).await;
    let result = result.unwrap().unwrap();
    assert!(result.clean, "{result}");
    for (at, ledger) in ledgers.iter().enumerate() {
        assert_eq!(ledger.wrong.load(Ordering::SeqCst), 0, "c{at}");
        assert_eq!(ledger.alive.load(Ordering::SeqCst), 0, "c{at}");
    }
}
