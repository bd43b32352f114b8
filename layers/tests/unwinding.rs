//! Alone in its process: the first thing this crate sees here is a thread that unwinds.

use supervisor_layers::{RestartLayer, TaskContext, TaskExit, service_fn};
use tower::{Service, ServiceBuilder};

#[test]
fn a_life_may_be_dropped_by_a_panic_before_anything_was_caught() {
    let ctx = TaskContext::detached("child");
    let mut child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(|_| async {}));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _life = child.call(ctx.clone());
        panic!("somebody else's");
    }));
    assert!(unwound.is_err());
    assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Aborted);
}
