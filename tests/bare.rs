//! Children whose stack has no `RestartLayer`: their supervisor calls them again.

mod support;

use std::future::pending;

use rust_supervisor::{
    Change, ChildSpec, EventKind, RestartType, SupervisorSpec, TaskContext, TreeEvent, secs,
    service_fn,
};
use support::{by, event, shut_down, start, within};

fn bare(id: &str) -> ChildSpec {
    ChildSpec::new(
        id,
        service_fn(|ctx: TaskContext| async move { ctx.cancelled().await }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_resume_by_hand_run_them_again() {
    let handle = start(SupervisorSpec::one_for_one("t").child(bare("a"))).await;
    let restarted = within(handle.restart_child("a", &by())).await.unwrap();
    assert_eq!((restarted.change, restarted.generation), (Change::Done, 2));
    within(handle.pause_child("a", &by())).await.unwrap();
    within(handle.resume_child("a", &by())).await.unwrap();
    assert_eq!(within(handle.wait_ready("a")).await.unwrap(), 3);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_deaf_one_is_aborted_and_runs_again() {
    let deaf = ChildSpec::new("a", service_fn(|_: TaskContext| pending::<()>()));
    let handle = start(SupervisorSpec::one_for_one("t").grace(secs(3)).child(deaf)).await;
    let restarted = within(handle.restart_child("a", &by())).await.unwrap();
    assert_eq!((restarted.change, restarted.generation), (Change::Done, 2));
}

#[tokio::test(start_paused = true)]
async fn they_run_again_with_their_group() {
    let trigger = std::sync::Arc::new(tokio::sync::Notify::new());
    let fails = ChildSpec::worker("b", {
        let trigger = trigger.clone();
        move |_| {
            let trigger = trigger.clone();
            async move {
                trigger.notified().await;
                Err::<(), _>("broken")
            }
        }
    })
    .restart(RestartType::Permanent);
    let tree = SupervisorSpec::one_for_all("t")
        .child(bare("a"))
        .child(fails);
    let handle = start(tree).await;
    assert_eq!(within(handle.wait_ready("a")).await.unwrap(), 1);
    trigger.notify_one();
    event(&handle, |event| {
        matches!(
            event.kind,
            EventKind::Tree(TreeEvent::GroupRestartEnded { started: 2 })
        )
    })
    .await;
    assert_eq!(within(handle.wait_ready("a")).await.unwrap(), 2);
    assert!(shut_down(&handle).await.clean);
}
