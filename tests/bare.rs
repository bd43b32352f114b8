//! Children whose stack has no `RestartLayer`: their supervisor calls them again.

mod support;

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rust_supervisor::{
    Change, ChildSpec, EventKind, SupervisorSpec, TaskContext, TreeEvent, ms, secs, service_fn,
    test_util::{Script, TestTree, by},
};
use support::{comes_to, shut_down, start, until, within};

fn bare(id: &str) -> ChildSpec {
    ChildSpec::new(id, service_fn(Script::new().task()))
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_resume_by_hand_run_them_again() {
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(bare("a"))).await;
    let restarted = within(tree.restart_child("a", &by())).await.unwrap();
    assert_eq!((restarted.change, restarted.generation), (Change::Done, 2));
    within(tree.pause_child("a", &by())).await.unwrap();
    within(tree.resume_child("a", &by())).await.unwrap();
    assert_eq!(within(tree.wait_ready("a")).await.unwrap(), 3);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_deaf_one_is_aborted_and_runs_again() {
    let deaf = ChildSpec::new("a", service_fn(Script::new().deaf().task()));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").grace(secs(3)).child(deaf)).await;
    let restarted = within(tree.restart_child("a", &by())).await.unwrap();
    assert_eq!((restarted.change, restarted.generation), (Change::Done, 2));
}

#[tokio::test(start_paused = true)]
async fn they_run_again_with_their_group() {
    let b = Script::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(bare("a"))
        .child(ChildSpec::worker("b", b.task()));
    let tree = TestTree::start(spec).await;
    assert_eq!(within(tree.wait_ready("a")).await.unwrap(), 1);
    b.fail("broken");
    tree.until_event(|event| {
        matches!(
            event.kind,
            EventKind::Tree(TreeEvent::GroupRestartEnded { started: 2 })
        )
    })
    .await;
    assert_eq!(within(tree.wait_ready("a")).await.unwrap(), 2);
    tree.shutdown_clean().await;
}

/// Its first run blocks its thread until the sender is gone.
fn blocked(held: mpsc::Receiver<()>) -> (ChildSpec, Arc<AtomicBool>) {
    let (held, blocks) = (Arc::new(Mutex::new(held)), Arc::new(AtomicBool::new(false)));
    let began = blocks.clone();
    let run = move |ctx: TaskContext| {
        let (held, began) = (held.clone(), began.clone());
        async move {
            if ctx.generation() == 1 {
                tokio::task::yield_now().await;
                began.store(true, Ordering::Relaxed);
                let _ = held.lock().unwrap().recv();
            }
            ctx.cancelled().await;
        }
    };
    (ChildSpec::new("a", service_fn(run)), blocks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_could_not_be_ended_runs_again_when_it_has_ended_at_last() {
    for paused in [false, true] {
        let (release, held) = mpsc::channel();
        let (child, blocks) = blocked(held);
        let tree = SupervisorSpec::one_for_one("t")
            .grace(ms(10))
            .abort_wait(ms(20))
            .child(child);
        let handle = start(tree).await;
        until(|| blocks.load(Ordering::Relaxed)).await;
        let outcome = match paused {
            false => within(handle.restart_child("a", &by())).await,
            true => within(handle.pause_child("a", &by())).await,
        };
        assert_eq!(outcome.unwrap().change, Change::Lingering);
        assert_eq!(handle.child_state("a").unwrap().generation, 1);
        drop(release);
        if paused {
            comes_to(&handle, "a", "paused").await;
            within(handle.resume_child("a", &by())).await.unwrap();
        }
        comes_to(&handle, "a", "running").await;
        tokio::time::sleep(ms(50)).await;
        let child = handle.child_state("a").unwrap();
        assert_eq!((child.status.as_str(), child.generation), ("running", 2));
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_is_resumed_while_it_cannot_be_ended_runs_again_when_it_has() {
    let (release, held) = mpsc::channel();
    let (child, blocks) = blocked(held);
    let tree = SupervisorSpec::one_for_one("t")
        .grace(ms(10))
        .abort_wait(ms(20))
        .child(child);
    let handle = start(tree).await;
    until(|| blocks.load(Ordering::Relaxed)).await;
    within(handle.pause_child("a", &by())).await.unwrap();
    within(handle.resume_child("a", &by())).await.unwrap();
    comes_to(&handle, "a", "lingering").await;
    drop(release);
    comes_to(&handle, "a", "running").await;
    tokio::time::sleep(ms(50)).await;
    let child = handle.child_state("a").unwrap();
    assert_eq!((child.status.as_str(), child.generation), ("running", 2));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_one_that_is_aborted_for_its_group_is_dropped() {
    let board = support::Switchboard::new();
    let deaf = ChildSpec::new("a", service_fn(|_: TaskContext| pending::<()>()));
    let tree = SupervisorSpec::one_for_all("t")
        .grace(secs(3))
        .child(deaf.temporary())
        .child(board.child("b").backoff(None));
    let handle = start(tree).await;
    board.fail("b");
    until(|| handle.child_state("b").unwrap().generation == 2).await;
    assert!(handle.child_state("a").is_err());
    assert!(shut_down(&handle).await.clean);
}
