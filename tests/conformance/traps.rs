//! Where supervisors are known to go wrong.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rust_supervisor::{
    Backoff, Change, ChildPolicy, ChildShutdownStatus, ChildSpec, Jitter, RestartType,
    SupervisionStrategy, SupervisorError, SupervisorHandle, SupervisorSpec, TaskContext, TaskExit,
    TaskResult, ms, secs,
};
use tokio::time::Instant;

use crate::{
    case::{Case, Source, case},
    given::{
        HOUR, MINUTE, STRATEGIES, add, children, crash, gave_up, generation, gone, idle, message,
        pause, plain, remove, restart, resume, state, status_of, stays, steady,
    },
    support::{Switchboard, by, comes_to, deaf, running, shut_down, start, status, until, within},
};

pub(crate) const SOURCE: Source = Source {
    title: "Known traps",
    about: "What supervisors of every sort are known to get wrong, from their change logs and issues.",
    module: "traps",
    cases: &[CASES],
};

const CASES: &[Case] = &[
    case!(
        n_pass_and_one_more_trips,
        "A limit of N lets exactly N restarts pass, by any strategy and for a fuse as for an intensity; the window's \
         edge belongs to it once."
    ),
    case!(
        a_tripped_supervisor_is_abnormal_to_its_parent,
        "A supervisor that gives up has failed: a transient one is restarted, a temporary one is not, and its \
         parent's limit is charged."
    ),
    case!(
        commands_get_through_restart_loops,
        "While a child crashes in a loop without any wait, by any strategy, each command is answered, and the shutdown \
         gets through."
    ),
    case!(
        killed_during_backoff_it_stays_dead,
        "What is paused, put in quarantine or removed while it waits for its restart does not run again, also not \
         with its group."
    ),
    case!(
        restarted_during_backoff_it_runs_once,
        "A restart by hand during the wait begins one run (at once, or in a group at the group's turn), and the wait \
         that was under way begins none."
    ),
    case!(
        killed_then_restarted_while_stopping,
        "Commands that overtake each other while a run is being stopped: the last one holds, no two runs overlap, and \
         all are answered."
    ),
    case!(
        requests_during_the_shutdown_are_answered_at_once,
        "While the shutdown waits for a run, commands, questions and further shutdowns are answered without waiting \
         for it, or with its result."
    ),
    case!(
        a_manual_restart_clears_the_history,
        "A restart by hand makes fuse, backoff and attempts as new, and charges nothing."
    ),
    case!(
        no_stop_times_out_falsely,
        "A run that ends within its grace has stopped by itself however often it is stopped, also at the last moment: \
         no stop inherits the deadline of an earlier one."
    ),
    case!(
        a_foreign_cancellation_is_a_failure,
        "An error that tells of somebody else's cancellation is a failure of the child; only its own stop is a stop."
    ),
    case!(
        a_name_can_be_used_again_after_removal,
        "A removed name can be used at once, for a new child that has nothing of the old one: neither its count, nor \
         its wait, nor its late end."
    ),
    case!(
        no_two_runs_of_a_child_at_once,
        "However a run is ended and whoever wants the next, it begins after the end of the one before."
    ),
];

#[tokio::test(start_paused = true)]
async fn n_pass_and_one_more_trips() {
    for limit in [0, 1, 2, 5] {
        for strategy in STRATEGIES {
            let board = Switchboard::new();
            let tree = SupervisorSpec::new("t", strategy)
                .intensity(limit, MINUTE)
                .child(plain(board.child("x")));
            let handle = start(tree).await;
            for _ in 0..limit {
                crash(&board, &handle, "x").await;
            }
            stays_under(&handle, "x", u64::from(limit) + 1);
            board.fail("x");
            let reason = gave_up(&handle).await;
            assert!(reason.contains(&format!("more than {limit} restarts")));
        }
        let board = Switchboard::new();
        let child = board.child("x").backoff(None).fuse(limit, MINUTE);
        let handle = start(SupervisorSpec::one_for_one("t").child(child)).await;
        for _ in 0..limit {
            crash(&board, &handle, "x").await;
        }
        stays_under(&handle, "x", u64::from(limit) + 1);
        board.fail("x");
        comes_to(&handle, "x", "quarantined").await;
        assert_eq!(generation(&handle, "x"), u64::from(limit) + 1);
        assert!(shut_down(&handle).await.clean);
    }
}

fn stays_under(handle: &SupervisorHandle, path: &str, runs: u64) {
    assert_eq!(
        (status_of(handle, path), generation(handle, path)),
        ("running", runs)
    );
}

#[tokio::test(start_paused = true)]
async fn a_tripped_supervisor_is_abnormal_to_its_parent() {
    for restart in [
        RestartType::Permanent,
        RestartType::Transient,
        RestartType::Temporary,
    ] {
        let board = Switchboard::new();
        let inner = SupervisorSpec::one_for_one("n")
            .policy(ChildPolicy::bare(restart))
            .intensity(1, MINUTE)
            .child(plain(board.child("x")));
        let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
        crash(&board, &handle, "n/x").await;
        board.fail("x");
        let used = || state(&handle, "/").supervisor.unwrap().intensity.used;
        if restart == RestartType::Temporary {
            gone(&handle, "n").await;
            assert_eq!(used(), 0);
        } else {
            running(&handle, "n", 2).await;
            running(&handle, "n/x", 3).await;
            assert_eq!(used(), 1);
            let last = state(&handle, "n").last_exit.unwrap();
            assert_eq!(last.exit, TaskExit::Failed);
            assert!(message(&handle, "n").contains("intensity exceeded"));
        }
        assert!(shut_down(&handle).await.clean);
    }
}

/// Crashes at each run as soon as it has been polled, without waiting, and counts the runs.
fn looping(id: &str, runs: &Arc<AtomicUsize>) -> ChildSpec {
    let runs = runs.clone();
    plain(ChildSpec::worker(id, move |_| {
        runs.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::task::yield_now().await;
            Err::<(), _>("again")
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn commands_get_through_restart_loops() {
    for strategy in STRATEGIES {
        let runs = Arc::default();
        let tree = SupervisorSpec::new("t", strategy)
            .intensity(u32::MAX, MINUTE)
            .child(looping("x", &runs))
            .child(ChildSpec::worker("y", idle));
        let handle = start(tree).await;
        let looped = async |more: usize| {
            let before = runs.load(Ordering::SeqCst);
            // Time does not pass in such a loop.
            within(async {
                while runs.load(Ordering::SeqCst) < before + more {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        };
        looped(100).await;
        // One of its runs has begun again, whatever became of it since.
        let restarted = within(handle.restart_child("x", &by())).await.unwrap();
        assert_eq!(restarted.change, Change::Done);
        looped(100).await;
        pause(&handle, "x").await;
        stays(&handle, "x", "paused").await;
        resume(&handle, "x").await;
        looped(100).await;
        add(&handle, "/", ChildSpec::worker("z", idle))
            .await
            .unwrap();
        within(handle.quarantine_child("x", &by())).await.unwrap();
        stays(&handle, "x", "quarantined").await;
        resume(&handle, "x").await;
        looped(100).await;
        remove(&handle, "x").await;
        let ended = runs.load(Ordering::SeqCst);
        comes_to(&handle, "y", "running").await;
        comes_to(&handle, "z", "running").await;
        assert_eq!(children(&handle, "/"), ["y running", "z running"]);
        assert_eq!(runs.load(Ordering::SeqCst), ended);
        // And once more, for the shutdown.
        add(&handle, "/", looping("x", &runs)).await.unwrap();
        looped(100).await;
        let result = shut_down(&handle).await;
        assert!(result.clean);
        assert_eq!(result.report.took, ms(0));
    }
}

#[tokio::test(start_paused = true)]
async fn killed_during_backoff_it_stays_dead() {
    for strategy in STRATEGIES {
        for how in ["pause", "quarantine", "remove"] {
            let board = Switchboard::new();
            let tree = SupervisorSpec::new("t", strategy)
                .child(board.child("x").backoff(steady(secs(10))))
                .child(board.child("y").backoff(None));
            let handle = start(tree).await;
            board.fail("x");
            until(|| status_of(&handle, "x") != "running").await;
            tokio::time::sleep(secs(1)).await;
            let dead = match how {
                "pause" => {
                    pause(&handle, "x").await;
                    "paused"
                }
                "quarantine" => {
                    within(handle.quarantine_child("x", &by())).await.unwrap();
                    "quarantined"
                }
                _ => {
                    remove(&handle, "x").await;
                    "gone"
                }
            };
            stays(&handle, "x", dead).await;
            // Its siblings are none the worse, and a restart of theirs does not bring it back.
            comes_to(&handle, "y", "running").await;
            crash(&board, &handle, "y").await;
            stays(&handle, "x", dead).await;
            let log = board.log();
            assert!(
                !log.contains(&"+x2".to_owned()),
                "{strategy:?} {how}: {log:?}"
            );
            assert!(shut_down(&handle).await.clean);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_during_backoff_it_runs_once() {
    for strategy in STRATEGIES {
        let board = Switchboard::new();
        let tree =
            SupervisorSpec::new("t", strategy).child(board.child("x").backoff(steady(secs(10))));
        let handle = start(tree).await;
        let failed = Instant::now();
        board.fail("x");
        until(|| status_of(&handle, "x") != "running").await;
        tokio::time::sleep(secs(1)).await;
        let restarted = restart(&handle, "x").await;
        assert_eq!((restarted.change, restarted.generation), (Change::Done, 2));
        // Alone it runs at once; in a group it has its turn when the group has.
        let waited = match strategy {
            SupervisionStrategy::OneForOne => 1,
            _ => 10,
        };
        assert_eq!(failed.elapsed().as_secs(), waited, "{strategy:?}");
        // The wait is over.
        running(&handle, "x", 2).await;
        stays(&handle, "x", "running").await;
        assert_eq!(board.log(), ["+x1", "!x1", "+x2"]);
        assert!(shut_down(&handle).await.clean);
    }
}

/// Takes its whole grace to stop, and notes whether two of its runs were alive at once.
fn watched(id: &str, overlapped: &Arc<AtomicBool>) -> ChildSpec {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (alive, overlapped) = (Arc::<AtomicUsize>::default(), overlapped.clone());
    ChildSpec::worker(id, move |_| {
        if alive.fetch_add(1, Ordering::SeqCst) > 0 {
            overlapped.store(true, Ordering::SeqCst);
        }
        let alive = Alive(alive.clone());
        async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        }
    })
    .grace(secs(10))
}

#[tokio::test(start_paused = true)]
async fn killed_then_restarted_while_stopping() {
    // Which commands come one second after another, and where they leave the child.
    let table = [
        (&["pause", "resume"][..], "running"),
        (&["restart", "pause"], "paused"),
        (&["restart", "pause", "resume"], "running"),
        (&["pause", "quarantine"], "quarantined"),
        (&["restart", "quarantine", "resume"], "running"),
        (&["pause", "resume", "pause"], "paused"),
        (&["restart", "restart"], "running"),
        (&["pause", "remove"], "gone"),
        (&["restart", "remove"], "gone"),
        (&["remove", "resume"], "gone"),
        (&["remove", "restart"], "gone"),
    ];
    for (commands, wanted) in table {
        let overlapped = Arc::default();
        let child = watched("x", &overlapped);
        let handle = start(SupervisorSpec::one_for_one("t").child(child)).await;
        let began = Instant::now();
        let mut answers = Vec::new();
        for command in commands.iter().copied() {
            let handle = handle.clone();
            answers.push(tokio::spawn(async move {
                match command {
                    "pause" => handle.pause_child("x", &by()).await,
                    "resume" => handle.resume_child("x", &by()).await,
                    "restart" => handle.restart_child("x", &by()).await,
                    "quarantine" => handle.quarantine_child("x", &by()).await,
                    _ => handle.remove_child("x", &by()).await,
                }
            }));
            tokio::time::sleep(secs(1)).await;
        }
        for answer in answers {
            let _ = within(answer).await.unwrap();
        }
        assert!(
            began.elapsed() <= secs(11),
            "{commands:?}: {:?}",
            began.elapsed()
        );
        if wanted == "running" {
            running(&handle, "x", 2).await;
        }
        stays(&handle, "x", wanted).await;
        assert!(!overlapped.load(Ordering::SeqCst), "{commands:?}");
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_during_the_shutdown_are_answered_at_once() {
    let tree = SupervisorSpec::one_for_one("t")
        .child(ChildSpec::worker("x", idle))
        .child(deaf("hung").grace(secs(10)));
    let handle = start(tree).await;
    let ending = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.shutdown_tree(&by()).await })
    };
    comes_to(&handle, "hung", "stopping").await;
    let (began, by) = (Instant::now(), by());
    let refused = [
        handle.pause_child("x", &by).await,
        handle.resume_child("x", &by).await,
        handle.restart_child("x", &by).await,
        handle.quarantine_child("x", &by).await,
        handle.remove_child("x", &by).await,
        handle
            .add_child("/", ChildSpec::worker("y", idle), &by)
            .await,
        handle.pause_child("nobody", &by).await,
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err(), SupervisorError::ShuttingDown);
    }
    let plane = handle.shutdown(&by).await.unwrap_err();
    assert_eq!(plane, SupervisorError::ShuttingDown);
    assert!(!handle.is_alive());
    assert_eq!(status_of(&handle, "hung"), "stopping");
    assert_eq!(children(&handle, "/").len(), 2);
    assert!(!handle.health().children.is_empty());
    assert_eq!(began.elapsed(), ms(0));
    let again = shut_down(&handle).await;
    assert!(
        (secs(9)..=secs(10)).contains(&began.elapsed()),
        "the same one"
    );
    assert_eq!(within(ending).await.unwrap().unwrap(), again);
}

#[tokio::test(start_paused = true)]
async fn a_manual_restart_clears_the_history() {
    let board = Switchboard::new();
    let backoff = Backoff::exponential(secs(1), MINUTE).jitter(Jitter::None);
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, HOUR)
        .child(board.child("x").fuse(3, HOUR).backoff(backoff));
    let handle = start(tree).await;
    let failing = async |times: u64| {
        let mut waits = Vec::new();
        for _ in 0..times {
            let began = Instant::now();
            crash(&board, &handle, "x").await;
            waits.push(began.elapsed().as_secs());
        }
        waits
    };
    for _ in 0..3 {
        assert_eq!(failing(3).await, [1, 2, 4]);
        let before = state(&handle, "x");
        assert_eq!((before.fuse.unwrap().used, before.attempt), (3, 4));
        restart(&handle, "x").await;
        let after = state(&handle, "x");
        assert_eq!(after.fuse.map_or(0, |fuse| fuse.used), 0);
        assert_eq!(after.attempt, 1);
    }
    assert!(handle.is_alive(), "no restart by hand was charged");
    assert_eq!(state(&handle, "/").supervisor.unwrap().intensity.used, 0);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn no_stop_times_out_falsely() {
    let last_moment = ms(4_999);
    let child = ChildSpec::worker("x", move |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(last_moment).await;
    });
    let tree = SupervisorSpec::one_for_one("t").child(child.grace(secs(5)));
    let handle = start(tree).await;
    for run in 1..=5 {
        let began = Instant::now();
        match run % 3 {
            0 => {
                pause(&handle, "x").await;
                resume(&handle, "x").await;
            }
            1 => drop(restart(&handle, "x").await),
            _ => {
                within(handle.quarantine_child("x", &by())).await.unwrap();
                resume(&handle, "x").await;
            }
        }
        assert_eq!(began.elapsed(), last_moment);
        running(&handle, "x", run + 1).await;
        let last = state(&handle, "x").last_exit.unwrap();
        assert_eq!((last.generation, last.exit), (run, TaskExit::Cancelled));
    }
    let result = shut_down(&handle).await;
    assert!(result.clean && !result.report.timed_out);
    assert_eq!(status(&result, "/x"), ChildShutdownStatus::Graceful);
    assert_eq!(result.report.took, last_moment);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_cancellation_is_a_failure() {
    /// What tells of somebody else's cancellation, in this many ways.
    async fn cancelled_elsewhere(way: &str) -> TaskResult {
        match way {
            "task" => {
                let task = tokio::spawn(std::future::pending::<()>());
                task.abort();
                task.await?;
            }
            "set" => {
                let mut tasks = tokio::task::JoinSet::new();
                tasks.spawn(std::future::pending::<()>());
                tasks.abort_all();
                tasks.join_next().await.unwrap()?;
            }
            "channel" => {
                let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
                drop(sender);
                receiver.await?;
            }
            _ => {
                let token = tokio_util::sync::CancellationToken::new();
                token.cancel();
                let work = token.run_until_cancelled(std::future::pending::<()>());
                work.await.ok_or("cancelled")?;
            }
        }
        Ok(())
    }
    for way in ["task", "set", "channel", "token"] {
        let child = ChildSpec::job("x", move |ctx: TaskContext| async move {
            if ctx.generation() == 1 {
                tokio::task::yield_now().await;
                return cancelled_elsewhere(way).await;
            }
            ctx.cancelled().await;
            Ok(())
        });
        let tree = SupervisorSpec::one_for_one("t").intensity(1, MINUTE);
        let handle = start(tree.child(plain(child))).await;
        running(&handle, "x", 2).await;
        let last = state(&handle, "x").last_exit.unwrap();
        assert_eq!((last.generation, last.exit), (1, TaskExit::Failed), "{way}");
        assert_eq!(state(&handle, "/").supervisor.unwrap().intensity.used, 1);
        // Its own stop is one.
        pause(&handle, "x").await;
        let last = state(&handle, "x").last_exit.unwrap();
        assert_eq!((last.generation, last.exit), (2, TaskExit::Cancelled));
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_can_be_used_again_after_removal() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let child = || {
        let child = board.child("x").transient().fuse(2, HOUR);
        child.backoff(steady(secs(10)))
    };
    let mut instances = Vec::new();
    for state_before in [
        "running",
        "backing_off",
        "paused",
        "finished",
        "quarantined",
    ] {
        let added = add(&handle, "/", child()).await.unwrap();
        assert_eq!(added.generation, 1);
        let new = state(&handle, "x");
        assert!(!instances.contains(&new.instance), "an instance of its own");
        instances.push(new.instance);
        assert_eq!(new.fuse.map_or(0, |fuse| fuse.used), 0);
        assert!(new.last_exit.is_none() && new.restarts == 0);
        match state_before {
            "backing_off" => board.fail("x"),
            "paused" => pause(&handle, "x").await,
            "finished" => board.complete("x"),
            "quarantined" => drop(within(handle.quarantine_child("x", &by())).await.unwrap()),
            _ => {}
        }
        comes_to(&handle, "x", state_before).await;
        remove(&handle, "x").await;
    }
    // What the former ones waited for wakes nobody.
    add(&handle, "/", child()).await.unwrap();
    let before = board.log().len();
    stays(&handle, "x", "running").await;
    assert_eq!(board.log().len(), before);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn no_two_runs_of_a_child_at_once() {
    for strategy in STRATEGIES {
        let board = Switchboard::new();
        let overlapped = Arc::default();
        let tree = SupervisorSpec::new("t", strategy)
            .intensity(u32::MAX, HOUR)
            .child(plain(board.child("first")))
            .child(plain(watched("x", &overlapped)))
            .child(plain(watched("y", &overlapped)));
        let handle = start(tree).await;
        for _ in 0..3 {
            crash(&board, &handle, "first").await;
            restart(&handle, "x").await;
            let restarting = {
                let handle = handle.clone();
                tokio::spawn(async move { handle.restart_child("y", &by()).await })
            };
            tokio::time::sleep(secs(1)).await;
            // A group that restarts meets a child that is being restarted.
            crash(&board, &handle, "first").await;
            pause(&handle, "y").await;
            resume(&handle, "y").await;
            let _ = within(restarting).await.unwrap();
        }
        comes_to(&handle, "y", "running").await;
        assert!(generation(&handle, "x") > 3);
        assert!(generation(&handle, "y") > 3);
        assert!(!overlapped.load(Ordering::SeqCst), "{strategy:?}");
        assert!(shut_down(&handle).await.clean);
    }
}
