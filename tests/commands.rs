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
    Audit, Backoff, Change, ChildSpec, ExitOutcome, SupervisorError, SupervisorHandle,
    SupervisorSpec, TaskContext, ms, secs, service_fn,
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
        assert_eq!((paused.change, &*paused.status), (Change::Done, "paused"));
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

#[tokio::test(start_paused = true)]
async fn a_command_to_a_temporary_child_that_ends_just_then_is_answered() {
    let board = Switchboard::new();
    let directory = tempfile::tempdir().unwrap();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("x").temporary())
        .audit(Audit::file(directory.path().join("audit.jsonl")));
    let handle = start(tree).await;
    let other = handle.clone();
    let restarting = tokio::spawn(async move { other.restart_child("x", &by()).await });
    // It has found the child, and is not on storage yet.
    tokio::task::yield_now().await;
    board.complete("x");
    let error = within(restarting).await.unwrap().unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotApplicable { .. }),
        "{error}"
    );
    assert!(handle.child_state("x").is_err());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_child_whose_supervisor_never_came_to_life_is_answered() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let inner = SupervisorSpec::one_for_one("inner").child(board.child("x"));
    let added = SupervisorSpec::one_for_one("added")
        .child(board.explicit("first"))
        .supervisor(inner);
    let (other, meta) = (handle.clone(), by());
    let adding = tokio::spawn(async move { other.add_child("/", added, &meta).await });
    comes_to(&handle, "added/first", "starting").await;
    let error = within(handle.restart_child("added/inner/x", &by())).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("down with its supervisor"), "{error}");
    let other = handle.clone();
    let waiting = tokio::spawn(async move { other.wait_ready("added/inner/x").await });
    tokio::task::yield_now().await;
    within(handle.remove_child("added", &by())).await.unwrap();
    assert!(within(waiting).await.unwrap().is_err());
    assert!(within(adding).await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_restart_whose_run_is_over_and_its_temporary_child_gone_is_done() {
    let child = ChildSpec::worker("x", |ctx: TaskContext| async move {
        if ctx.generation() == 1 {
            ctx.cancelled().await;
        }
    });
    let tree = SupervisorSpec::one_for_one("t").child(child.temporary());
    let handle = start(tree).await;
    let outcome = within(handle.restart_child("x", &by())).await.unwrap();
    assert_eq!((outcome.change, outcome.generation), (Change::Done, 2));
    assert!(handle.child_state("x").is_err());
}
