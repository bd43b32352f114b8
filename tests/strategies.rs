//! Who restarts with whom.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rust_supervisor::{
    Backoff, ChildSpec, Jitter, ReadinessPolicy, SupervisorSpec, TaskContext, ms,
    test_util::{TestTree, by},
};
use support::{Switchboard, within};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_the_failed_child_alone() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.child("b"));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_running("a", 2).await;
    assert_eq!(tree.child_state("a").unwrap().generation, 2);
    assert_eq!(tree.child_state("b").unwrap().generation, 1);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_in_reverse_and_starts_in_order() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a"))
        .child(board.child("b"))
        .child(board.child("c"));
    let tree = TestTree::start(spec).await;
    assert_eq!(board.log(), ["+a1", "+b1", "+c1"]);
    board.fail("b");
    tree.until_running("c", 2).await;
    assert_eq!(board.log()[3..], ["!b1", "-c1", "-a1", "+a2", "+b2", "+c2"]);
    assert_eq!(
        tree.current_state().root.supervisor.unwrap().group_restarts,
        1
    );
    tree.shutdown_clean().await;
    assert_eq!(board.log()[9..], ["-c2", "-b2", "-a2"]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restarts_the_failed_child_and_those_after_it() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::rest_for_one("t")
        .child(board.child("a"))
        .child(board.child("b"))
        .supervisor(SupervisorSpec::one_for_one("n").child(board.child("c")));
    let tree = TestTree::start(spec).await;
    board.fail("b");
    tree.until_running("n/c", 2).await;
    assert_eq!(board.log()[3..], ["!b1", "-c1", "+b2", "+c2"]);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_waits_for_the_backoff_of_the_child_that_failed() {
    let board = Switchboard::new();
    let slow = board
        .child("b")
        .backoff(Backoff::constant(ms(700)).jitter(Jitter::None));
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a"))
        .child(slow);
    let tree = TestTree::start(spec).await;
    let began = tokio::time::Instant::now();
    board.fail("b");
    tree.until_running("b", 2).await;
    assert_eq!(began.elapsed(), ms(700));
    drop(tree);
}

/// `b` uses what `a` provides, and notices first that it is gone; nothing but `a`'s restart can help `b`.
#[tokio::test(start_paused = true)]
async fn an_earlier_failure_is_not_starved_by_a_later_members_retries() {
    let provided = Arc::new(AtomicBool::new(false));
    let (gives, takes) = (provided.clone(), provided.clone());
    let a = ChildSpec::worker("a", move |ctx: TaskContext| {
        let provided = gives.clone();
        async move {
            provided.store(true, Ordering::SeqCst);
            ctx.mark_ready();
            while provided.load(Ordering::SeqCst) {
                if ctx.run_until_cancelled(sleep(ms(100))).await.is_none() {
                    return Ok(());
                }
            }
            Err("withdrawn")
        }
    });
    let b = ChildSpec::worker("b", move |ctx: TaskContext| {
        let provided = takes.clone();
        async move {
            while provided.load(Ordering::SeqCst) {
                ctx.mark_ready();
                if ctx.run_until_cancelled(sleep(ms(10))).await.is_none() {
                    return Ok(());
                }
            }
            Err("a is down")
        }
    });
    let child = |spec: ChildSpec| {
        spec.readiness(ReadinessPolicy::Explicit)
            .backoff(Backoff::constant(ms(50)).jitter(Jitter::None))
    };
    let spec = SupervisorSpec::rest_for_one("t")
        .child(child(a))
        .child(child(b));
    let tree = TestTree::start(spec).await;
    provided.store(false, Ordering::SeqCst);
    tree.until_running("a", 2).await;
    within(tree.wait_ready("b")).await.unwrap();
    assert!(tree.current_state().uptime < ms(300));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_in_the_childs_own_task() {
    let tasks = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = tasks.clone();
    let child = ChildSpec::worker("a", move |ctx: TaskContext| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push(tokio::task::id());
            sleep(ms(1)).await;
            if ctx.generation() < 4 {
                return Err("again");
            }
            ctx.cancelled().await;
            Ok(())
        }
    });
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    tree.until_running("a", 4).await;
    within(tree.restart_child("a", &by())).await.unwrap();
    tree.until_running("a", 5).await;
    let tasks = tasks.lock().unwrap();
    assert_eq!(tasks.len(), 5);
    assert!(tasks.iter().all(|task| *task == tasks[0]));
}
