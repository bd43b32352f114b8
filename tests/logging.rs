//! What the program's log is told, and that it may ask the tree.

mod support;

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use rust_supervisor::{SupervisorHandle, SupervisorSpec};
use support::{Switchboard, by, start, within};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

static HANDLE: OnceLock<SupervisorHandle> = OnceLock::new();
static ANSWERS: AtomicUsize = AtomicUsize::new(0);

/// Asks for the tree's state at each event of the tree.
struct Asks;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Asks {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "rust_supervisor"
            && let Some(handle) = HANDLE.get()
        {
            assert_eq!(handle.current_state().root.children.len(), 1);
            ANSWERS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// In a thread of its own: a log that waits for what the tree holds locked would never return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_asks_the_tree_is_answered() {
    tracing_subscriber::registry().with(Asks).init();
    let board = Switchboard::new();
    let child = board.child("a").fuse(0, rust_supervisor::secs(60));
    let handle = start(SupervisorSpec::one_for_one("t").child(child)).await;
    HANDLE.set(handle.clone()).unwrap();
    within(tokio::spawn(async move {
        // Its fuse blows, somebody releases it, holds it, and shuts everything down.
        board.fail("a");
        support::event(&handle, |event| {
            matches!(
                event.kind,
                rust_supervisor::EventKind::Lifecycle(
                    rust_supervisor::LifecycleEvent::Quarantined { .. }
                )
            )
        })
        .await;
        handle.resume_child("a", &by()).await.unwrap();
        handle.quarantine_child("a", &by()).await.unwrap();
        assert!(handle.restart_child("a", &by()).await.is_err());
        assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
    }))
    .await
    .unwrap();
    assert!(ANSWERS.load(Ordering::Relaxed) >= 8);
}
