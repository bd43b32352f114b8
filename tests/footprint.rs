//! What a child and a restart take of memory: counted, not timed. A test program of its own, as it counts
//! what its whole process takes.

use std::{alloc::System, sync::Arc};

use rust_supervisor::{ChildSpec, Supervisor, SupervisorSpec, TaskContext, secs, test_util::by};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Notify;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One at a time: what others allocate would be counted too.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

/// What it may take at most. It takes a little less than this; a change that takes more has to say what for.
const BYTES_PER_CHILD: usize = 850;
/// The error that the child returns is kept in the box that it came in, and what the restart itself needs is there already.
const ALLOCATIONS_PER_RESTART: usize = 0;

#[tokio::test]
async fn an_idle_child_in_the_default_stack_takes_no_more_than_it_may() {
    const CHILDREN: usize = 10_000;
    let _alone = ALONE.lock().await;
    let children: Vec<_> = (0..CHILDREN)
        .map(|n| ChildSpec::worker(format!("c{n}"), idle))
        .collect();
    let region = Region::new(COUNTED);
    let tree = children
        .into_iter()
        .fold(SupervisorSpec::one_for_one("t"), SupervisorSpec::child);
    let handle = Supervisor::start(tree).await.unwrap();
    while handle.health().children.get("running") != Some(&CHILDREN) {
        tokio::task::yield_now().await;
    }
    let taken = region.change();
    let alive = taken.bytes_allocated - taken.bytes_deallocated;
    println!("{} bytes per child", alive / CHILDREN);
    assert!(alive / CHILDREN <= BYTES_PER_CHILD);
    handle.shutdown_tree(&by()).await.unwrap();
}

#[tokio::test]
async fn a_restart_in_a_crash_loop_allocates_nothing_of_its_own() {
    const RESTARTS: usize = 1000;
    let _alone = ALONE.lock().await;
    let (fail, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let child = ChildSpec::worker("a", {
        let (fail, begun) = (fail.clone(), begun.clone());
        move |_: TaskContext| {
            let (fail, begun) = (fail.clone(), begun.clone());
            async move {
                begun.notify_one();
                fail.notified().await;
                Err::<(), _>(std::fmt::Error)
            }
        }
    });
    let tree = SupervisorSpec::one_for_one("t")
        .intensity(u32::MAX, secs(60))
        // A ring that is full already, as it is after a while.
        .journal_capacity(64)
        .child(child.no_fuse().backoff(None));
    let handle = Supervisor::start(tree).await.unwrap();
    begun.notified().await;
    let crash = async |times: usize| {
        for _ in 0..times {
            fail.notify_one();
            begun.notified().await;
        }
    };
    crash(RESTARTS).await;
    let region = Region::new(COUNTED);
    crash(RESTARTS).await;
    let taken = region.change();
    println!("{taken:?} for {RESTARTS} restarts");
    assert_eq!(taken.allocations / RESTARTS, ALLOCATIONS_PER_RESTART);
    handle.shutdown_tree(&by()).await.unwrap();
}

#[tokio::test]
async fn a_history_that_is_full_takes_no_more_whoever_comes_and_goes() {
    const CHILDREN: usize = 1500;
    let _alone = ALONE.lock().await;
    let tree = SupervisorSpec::one_for_one("t").journal_capacity(64);
    let handle = Supervisor::start(tree).await.unwrap();
    let by = by();
    let come_and_go = async || {
        for _ in 0..CHILDREN {
            let child = ChildSpec::worker("a", idle);
            handle.add_child("/", child, &by).await.unwrap();
            handle.remove_child("a", &by).await.unwrap();
        }
    };
    come_and_go().await;
    let region = Region::new(COUNTED);
    come_and_go().await;
    let taken = region.change();
    println!("{taken:?} for {CHILDREN} children");
    let alive = taken.bytes_allocated.abs_diff(taken.bytes_deallocated);
    // Not a byte for each.
    assert!(alive < CHILDREN, "{alive} bytes more or less");
    handle.shutdown_tree(&by).await.unwrap();
}
