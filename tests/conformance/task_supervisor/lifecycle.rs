//! Runs, waits and limits.

use std::{sync::Arc, time::Duration};

use rust_supervisor::{
    Backoff, ChildSpec, Jitter, SupervisorSpec, TaskContext, TaskExit, TaskResult, ms, secs,
};
use tokio::time::Instant;

use crate::{
    case::{Case, case},
    given::{HOUR, MINUTE, children, generation, idle, state, stays, steady},
    support::{Switchboard, comes_to, running, shut_down, start, until},
};

use super::{Failing, one};

pub(super) const CASES: &[Case] = &[
    case!(
        task_runs_then_completes,
        "A task runs, and is done when it returns."
    ),
    case!(
        failing_task_restarts_with_backoff_then_dies,
        "A task that fails waits between its restarts and is down for good when they are used up."
    ),
    case!(
        backoff_doubles_and_is_capped,
        "Each wait is twice the one before, up to the longest."
    ),
    case!(
        restart_limit_above_32_is_enforced,
        "A limit of many restarts is kept exactly, too."
    ),
    case!(
        jitter_spreads_restarts_of_tasks_that_failed_together,
        "With jitter, tasks that failed together do not return together, and none later than its wait."
    ),
    case!(
        unlimited_restarts_never_die,
        "Without a limit a task runs again for ever."
    ),
    case!(
        restarts_outside_the_window_are_forgotten,
        "A restart older than the window does not count."
    ),
    case!(
        restarts_inside_the_window_count,
        "One within it does, however long the run in between."
    ),
    case!(
        panicking_task_is_restarted,
        "A panic counts as a failure: the task runs again, and is down when its restarts are used up."
    ),
    case!(
        huge_restart_delay_keeps_task_in_backoff,
        "A wait of the longest time there is crashes nothing; the supervisor can be shut down meanwhile."
    ),
    case!(
        tasks_are_supervised_independently,
        "A task that is down for good leaves another one running."
    ),
    case!(
        "supervisor_keeps_running_below_threshold",
        tasks_are_supervised_independently,
        "When not so many are, the supervisor runs on."
    ),
];

#[tokio::test(start_paused = true)]
async fn task_runs_then_completes() {
    let board = Switchboard::new();
    let handle = one(board.child("t").transient()).await;
    stays(&handle, "t", "running").await;
    board.complete("t");
    comes_to(&handle, "t", "finished").await;
    let last = state(&handle, "t").last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Completed);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn failing_task_restarts_with_backoff_then_dies() {
    let task = Failing::default();
    let child = task.child("t").fuse(3, MINUTE).backoff(steady(ms(100)));
    let began = Instant::now();
    let handle = one(child).await;
    comes_to(&handle, "t", "backing_off").await;
    assert_eq!(task.runs(), 1);
    until(|| task.runs() == 4).await;
    assert!((ms(300)..ms(310)).contains(&began.elapsed()));
    comes_to(&handle, "t", "quarantined").await;
    stays(&handle, "t", "quarantined").await;
    assert_eq!(task.runs(), 4);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_and_is_capped() {
    let began = Instant::now();
    let starts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = starts.clone();
    let child = ChildSpec::job("t", move |_| {
        noted.lock().unwrap().push(began.elapsed().as_millis());
        async {
            tokio::task::yield_now().await;
            Err::<(), _>("boom")
        }
    });
    let backoff = Backoff::exponential(ms(100), ms(250)).jitter(Jitter::None);
    let handle = one(child.fuse(4, MINUTE).backoff(backoff)).await;
    comes_to(&handle, "t", "quarantined").await;
    assert_eq!(*starts.lock().unwrap(), [0, 100, 300, 550, 800]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn restart_limit_above_32_is_enforced() {
    let task = Failing::default();
    let handle = one(task.child("t").fuse(33, HOUR).backoff(steady(ms(1)))).await;
    comes_to(&handle, "t", "quarantined").await;
    assert_eq!(task.runs(), 34);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_restarts_of_tasks_that_failed_together() {
    let tasks: Vec<Failing> = (0..40).map(|_| Failing::default()).collect();
    let mut tree = SupervisorSpec::one_for_one("t");
    for (at, task) in tasks.iter().enumerate() {
        // Half the wait is certain, half is chance. A seed of its own each: the outcome is always the same.
        let backoff = steady(secs(1)).jitter(Jitter::Equal).seed(at as u64);
        tree = tree.child(task.child(&at.to_string()).backoff(backoff));
    }
    let handle = start(tree).await;
    let again = || tasks.iter().filter(|task| task.runs() > 1).count();
    tokio::time::sleep(ms(499)).await;
    assert_eq!(again(), 0, "none earlier than it may");
    tokio::time::sleep(ms(251)).await;
    assert!((5..35).contains(&again()), "{} at half time", again());
    tokio::time::sleep(ms(251)).await;
    assert_eq!(again(), 40, "none later");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn unlimited_restarts_never_die() {
    let task = Failing::default();
    let tree = SupervisorSpec::one_for_one("t").intensity(u32::MAX, MINUTE);
    let child = task.child("t").no_fuse().backoff(steady(ms(50)));
    let handle = start(tree.child(child)).await;
    until(|| task.runs() > 1000).await;
    assert!(handle.is_alive());
    assert!(shut_down(&handle).await.clean);
}

/// Fails at once, but the third time only after a second.
async fn flaky(ctx: TaskContext) -> TaskResult {
    match ctx.generation() {
        3 => tokio::time::sleep(secs(1)).await,
        _ => tokio::task::yield_now().await,
    }
    Err("boom".into())
}

/// How many runs it has until its fuse of 2 blows.
async fn flaky_within(window: Duration) -> u64 {
    let child = ChildSpec::job("t", flaky).fuse(2, window);
    let handle = one(child.backoff(steady(ms(10)))).await;
    comes_to(&handle, "t", "quarantined").await;
    let runs = generation(&handle, "t");
    assert!(shut_down(&handle).await.clean);
    runs
}

#[tokio::test(start_paused = true)]
async fn restarts_outside_the_window_are_forgotten() {
    assert_eq!(flaky_within(ms(500)).await, 5);
}

#[tokio::test(start_paused = true)]
async fn restarts_inside_the_window_count() {
    assert_eq!(flaky_within(secs(5)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn panicking_task_is_restarted() {
    let board = Switchboard::new();
    let handle = one(board.child("t").fuse(1, MINUTE).backoff(steady(ms(10)))).await;
    board.panic("t");
    running(&handle, "t", 2).await;
    board.panic("t");
    comes_to(&handle, "t", "quarantined").await;
    assert_eq!(board.log(), ["+t1", "!t1", "+t2", "!t2"]);
    let last = state(&handle, "t").last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Panicked);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn huge_restart_delay_keeps_task_in_backoff() {
    for backoff in [
        steady(Duration::MAX),
        Backoff::exponential(Duration::MAX, Duration::MAX),
        Backoff::linear(Duration::MAX, Duration::MAX),
    ] {
        let task = Failing::default();
        let handle = one(task.child("t").backoff(backoff.jitter(Jitter::None))).await;
        comes_to(&handle, "t", "backing_off").await;
        stays(&handle, "t", "backing_off").await;
        assert!(shut_down(&handle).await.clean);
        assert_eq!(task.runs(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_are_supervised_independently() {
    let task = Failing::default();
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(0, HOUR)
        .child(ChildSpec::worker("steady", idle))
        .child(task.child("flaky").fuse(3, MINUTE));
    let handle = start(tree).await;
    comes_to(&handle, "flaky", "quarantined").await;
    stays(&handle, "steady", "running").await;
    assert_eq!(
        children(&handle, "/"),
        ["steady running", "flaky quarantined"]
    );
    assert!(shut_down(&handle).await.clean);
}
