//! What a handle does to a task.

use rust_supervisor::{
    Change, ChildSpec, OnFuseBlown, SupervisorError, SupervisorSpec, TaskContext, ms, secs,
};
use tokio::time::Instant;

use crate::{
    case::{Case, case},
    given::{
        MINUTE, add, children, generation, idle, pause, restart, resume, status_of, stays, steady,
    },
    support::{Switchboard, by, comes_to, deaf, running, shut_down, start, until, within},
};

use super::{Failing, one};

pub(super) const CASES: &[Case] = &[
    case!(
        add_duplicate_name_is_rejected,
        "A name that is taken is refused, by name."
    ),
    case!(
        unknown_task_is_reported,
        "A command or a question about nobody says so, by name."
    ),
    case!(
        kill_stops_cooperative_task,
        "A killed task ends by itself and stays down; killing it again changes nothing."
    ),
    case!(
        kill_of_stubborn_task_resolves_at_stop_timeout,
        "A task that does not listen is shown as stopping and is down when its time is over, not before or after."
    ),
    case!(
        requests_during_shutdown_drain_fail_immediately,
        "While the shutdown waits for somebody, requests are answered at once."
    ),
    case!(
        kill_during_backoff_stays_dead,
        "A task killed while it waits for its restart does not run again."
    ),
    case!(
        restart_during_backoff_does_not_double_run,
        "A task restarted by hand while it waits runs once, and its next wait begins anew."
    ),
    case!(
        manual_restart_clears_restart_history,
        "A task that ran out of restarts and is started by hand has them all again."
    ),
    case!(
        restart_running_task_stops_it_then_starts_a_fresh_run,
        "A restart by hand stops the run, then begins one, and is answered when that runs."
    ),
    case!(
        operations_after_shutdown_report_closed,
        "After the shutdown commands say that it is over. (What the children were can still be read.)"
    ),
    case!(
        completed_task_can_be_restarted_or_killed,
        "A task that is done can be run again. (To kill it is refused here, as it is down: it can be removed.)"
    ),
    case!(
        restart_then_kill_while_stopping_ends_dead,
        "A kill that comes while a restart stops the run wins. (The restart is told that it was overtaken.)"
    ),
    case!(
        kill_then_restart_while_stopping_ends_running,
        "A restart that comes while a kill stops the run wins."
    ),
    case!(
        kill_resolves_when_task_panics_during_stop,
        "A task that panics when it is stopped is down at once, and the caller is answered."
    ),
    Case::explained(
        "with_task_same_name_replaces_earlier_task",
        "A name declared twice takes the later task.",
        "a name declared twice is an error here, so that none is lost unseen: `sup_start_map_faulty_specs` of OTP's cases",
    ),
];

#[tokio::test(start_paused = true)]
async fn add_duplicate_name_is_rejected() {
    let handle = one(ChildSpec::worker("t", idle)).await;
    match add(&handle, "/", ChildSpec::worker("t", idle)).await {
        Err(SupervisorError::DuplicateId { path }) => assert_eq!(path.as_str(), "/t"),
        other => panic!("{other:?}"),
    }
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn unknown_task_is_reported() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let errors = [
        within(handle.restart_child("nope", &by())).await.err(),
        within(handle.pause_child("nope", &by())).await.err(),
        handle.child_state("nope").err(),
        within(handle.wait_ready("nope")).await.err(),
    ];
    for error in errors {
        match error {
            Some(SupervisorError::UnknownPath { path, .. }) => assert_eq!(path.as_str(), "/nope"),
            other => panic!("{other:?}"),
        }
    }
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn kill_stops_cooperative_task() {
    let board = Switchboard::new();
    let handle = one(board.child("t")).await;
    pause(&handle, "t").await;
    assert_eq!(status_of(&handle, "t"), "paused");
    assert_eq!(board.log(), ["+t1", "-t1"]);
    let again = within(handle.pause_child("t", &by())).await.unwrap();
    assert_eq!(again.change, Change::AlreadySo);
    stays(&handle, "t", "paused").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn kill_of_stubborn_task_resolves_at_stop_timeout() {
    let handle = one(deaf("t").grace(ms(200))).await;
    let seen = {
        let handle = handle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ms(100)).await;
            status_of(&handle, "t")
        })
    };
    let began = Instant::now();
    pause(&handle, "t").await;
    assert_eq!(began.elapsed(), ms(200));
    assert_eq!(seen.await.unwrap(), "stopping");
    assert_eq!(status_of(&handle, "t"), "paused");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn requests_during_shutdown_drain_fail_immediately() {
    let handle = one(deaf("t").grace(secs(5))).await;
    let ending = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.shutdown_tree(&by()).await })
    };
    comes_to(&handle, "t", "stopping").await;
    let began = Instant::now();
    let error = handle.restart_child("t", &by()).await.unwrap_err();
    assert_eq!(error, SupervisorError::ShuttingDown);
    assert_eq!(status_of(&handle, "t"), "stopping");
    assert_eq!(began.elapsed(), ms(0));
    assert!(within(ending).await.unwrap().unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn kill_during_backoff_stays_dead() {
    let task = Failing::default();
    let handle = one(task.child("t").backoff(steady(ms(100)))).await;
    comes_to(&handle, "t", "backing_off").await;
    pause(&handle, "t").await;
    stays(&handle, "t", "paused").await;
    assert_eq!(task.runs(), 1);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn restart_during_backoff_does_not_double_run() {
    let task = Failing::default();
    let handle = one(task.child("t").backoff(steady(secs(1)))).await;
    comes_to(&handle, "t", "backing_off").await;
    tokio::time::sleep(ms(100)).await;
    restart(&handle, "t").await;
    comes_to(&handle, "t", "backing_off").await;
    let since = Instant::now();
    assert_eq!(task.runs(), 2);
    // The end of the first wait comes and goes.
    tokio::time::sleep(ms(950)).await;
    assert_eq!(task.runs(), 2);
    until(|| task.runs() == 3).await;
    assert!((ms(990)..ms(1010)).contains(&since.elapsed()));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn manual_restart_clears_restart_history() {
    for held in [true, false] {
        let task = Failing::default();
        let child = task.child("t").fuse(1, MINUTE).backoff(steady(ms(100)));
        let handle = one(if held {
            child
        } else {
            child.on_fuse_blown(OnFuseBlown::Stop)
        })
        .await;
        let down = if held { "quarantined" } else { "failed" };
        comes_to(&handle, "t", down).await;
        assert_eq!(task.runs(), 2);
        if held {
            resume(&handle, "t").await;
        } else {
            restart(&handle, "t").await;
        }
        until(|| task.runs() > 2).await;
        comes_to(&handle, "t", down).await;
        assert_eq!(task.runs(), 4, "one run and one restart again");
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn restart_running_task_stops_it_then_starts_a_fresh_run() {
    let board = Switchboard::new();
    let handle = one(board.child("t")).await;
    let outcome = restart(&handle, "t").await;
    assert_eq!((outcome.change, outcome.generation), (Change::Done, 2));
    assert_eq!(board.log(), ["+t1", "-t1", "+t2"]);
    comes_to(&handle, "t", "running").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn operations_after_shutdown_report_closed() {
    let handle = one(ChildSpec::worker("t", idle)).await;
    assert!(shut_down(&handle).await.clean);
    let added = add(&handle, "/", ChildSpec::worker("u", idle)).await;
    assert_eq!(added.unwrap_err(), SupervisorError::ShuttingDown);
    let error = within(handle.pause_child("t", &by())).await.unwrap_err();
    assert_eq!(error, SupervisorError::ShuttingDown);
    assert_ne!(status_of(&handle, "t"), "running");
}

#[tokio::test(start_paused = true)]
async fn completed_task_can_be_restarted_or_killed() {
    let task = |id| {
        ChildSpec::job(id, |_| async {
            tokio::time::sleep(ms(10)).await;
        })
    };
    let tree = SupervisorSpec::one_for_one("t");
    let handle = start(tree.child(task("a")).child(task("b"))).await;
    comes_to(&handle, "a", "finished").await;
    comes_to(&handle, "b", "finished").await;
    assert_eq!(restart(&handle, "a").await.status, "running");
    comes_to(&handle, "a", "finished").await;
    assert_eq!(generation(&handle, "a"), 2);
    let error = within(handle.pause_child("b", &by())).await.unwrap_err();
    assert!(matches!(error, SupervisorError::NotApplicable { .. }));
    crate::given::remove(&handle, "b").await;
    assert_eq!(children(&handle, "/"), ["a finished"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn restart_then_kill_while_stopping_ends_dead() {
    let handle = one(deaf("t").grace(ms(200))).await;
    let restarting = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.restart_child("t", &by()).await })
    };
    comes_to(&handle, "t", "stopping").await;
    let began = Instant::now();
    pause(&handle, "t").await;
    assert!(began.elapsed() <= ms(200));
    let overtaken = within(restarting).await.unwrap();
    assert!(matches!(
        overtaken,
        Err(SupervisorError::NotApplicable { .. })
    ));
    stays(&handle, "t", "paused").await;
    assert_eq!(generation(&handle, "t"), 1);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn kill_then_restart_while_stopping_ends_running() {
    let handle = one(deaf("t").grace(ms(200))).await;
    let killing = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.pause_child("t", &by()).await })
    };
    comes_to(&handle, "t", "stopping").await;
    resume(&handle, "t").await;
    assert!(within(killing).await.unwrap().is_ok());
    running(&handle, "t", 2).await;
    stays(&handle, "t", "running").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn kill_resolves_when_task_panics_during_stop() {
    let child = ChildSpec::worker("t", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        panic!("while tidying up");
    });
    let handle = one(child).await;
    let began = Instant::now();
    pause(&handle, "t").await;
    assert_eq!(began.elapsed(), ms(0));
    stays(&handle, "t", "paused").await;
    assert!(shut_down(&handle).await.clean);
}
