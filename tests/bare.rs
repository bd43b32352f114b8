//! Children whose stack has no `RestartLayer`: their supervisor calls them again.

mod support;

use rust_supervisor::{
    Change, ChildSpec, EventKind, SupervisorSpec, TreeEvent, secs, service_fn,
    test_util::{Script, TestTree, by},
};
use support::within;

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
