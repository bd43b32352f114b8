//! What commands do to a child.

mod support;

use rust_supervisor::{Change, ChildSpec, SupervisorSpec, TaskContext};
use support::{by, start, within};

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
