//! Children that wait for a permit, in groups.

use rust_supervisor::{
    ChildSpec, RestartLayer, SupervisorSpec, secs, service_fn,
    test_util::{Script, TestTree},
};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};

#[tokio::test(start_paused = true)]
async fn a_member_that_waits_for_a_permit_holds_up_its_group_for_its_start_timeout_only() {
    let one = GlobalConcurrencyLimitLayer::new(1);
    let (a, b, c) = (Script::new(), Script::new(), Script::new());
    let shared = |id: &str, script: &Script| {
        let stack = ServiceBuilder::new()
            .layer(RestartLayer::permanent())
            .layer(one.clone())
            .service(service_fn(script.task()));
        ChildSpec::new(id, stack).start_timeout(secs(5))
    };
    let spec = SupervisorSpec::one_for_all("t")
        .child(shared("a", &a))
        .child(shared("b", &b))
        .child(ChildSpec::worker("c", c.task()));
    let tree = TestTree::start(spec).await;
    a.fail("as ordered");
    tree.until_running("c", 2).await;
    let uptime = tree.current_state().uptime;
    assert!(uptime >= secs(5) && uptime < secs(6), "{uptime:?}");
    tree.shutdown_clean().await;
}
