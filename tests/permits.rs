//! Children that wait for a permit, in groups.

mod support;

use std::sync::Arc;

use rust_supervisor::{ChildSpec, RestartLayer, SupervisorSpec, TaskContext, secs, service_fn};
use support::{Switchboard, by, running, start};
use tokio::sync::Notify;
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};

#[tokio::test(start_paused = true)]
async fn a_member_that_waits_for_a_permit_holds_up_its_group_for_its_start_timeout_only() {
    let one = GlobalConcurrencyLimitLayer::new(1);
    let fail = Arc::new(Notify::new());
    let shared = |id: &str| {
        let fail = fail.clone();
        let child = service_fn(move |ctx: TaskContext| {
            let fail = fail.clone();
            async move {
                match ctx.run_until_cancelled(fail.notified()).await {
                    Some(()) => Err("as ordered"),
                    None => Ok(()),
                }
            }
        });
        let stack = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(one.clone())
            .service(child);
        ChildSpec::new(id, stack).start_timeout(secs(5))
    };
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_all("t")
        .child(shared("a"))
        .child(shared("b"))
        .child(board.child("c"));
    let handle = start(tree).await;
    fail.notify_one();
    running(&handle, "c", 2).await;
    let uptime = handle.current_state().uptime;
    assert!(uptime >= secs(5) && uptime < secs(6), "{uptime:?}");
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
}
