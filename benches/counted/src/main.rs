//! Does one thing so often, on one thread and always alike, for its instructions to be counted:
//! `counted start TIMES`, `counted life TIMES`, `counted restart TIMES SIBLINGS`.

use std::{
    process::exit,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rust_supervisor::{
    ChildSpec, CommandMeta, ShutdownOrder, Supervisor, SupervisorSpec, TaskContext, secs,
};
use tokio::sync::Notify;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| -> u64 {
        let argument = arguments.get(at).map(|argument| argument.parse());
        argument.and_then(Result::ok).expect("a number")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("start") => runtime.block_on(start(number(1))),
        Some("life") => runtime.block_on(life(number(1))),
        Some("restart") => runtime.block_on(restart(number(1), number(2))),
        _ => panic!("start TIMES, life TIMES, or restart TIMES SIBLINGS"),
    }
    // What the end of it takes is not to be counted.
    exit(0);
}

fn tree(children: u64) -> SupervisorSpec {
    let children = (0..children).map(|n| {
        ChildSpec::worker(format!("c{n}"), |ctx: TaskContext| async move {
            ctx.cancelled().await;
        })
    });
    children
        .fold(
            SupervisorSpec::one_for_one("counted"),
            SupervisorSpec::child,
        )
        .intensity(u32::MAX, secs(1))
        // Full from the beginning on, as it is after a while.
        .journal_capacity(64)
}

async fn start(children: u64) {
    let handle = Supervisor::start(tree(children)).await.expect("it starts");
    assert_eq!(handle.statuses().len() as u64, children);
}

async fn life(children: u64) {
    let tree = tree(children).shutdown_order(ShutdownOrder::Parallel);
    let handle = Supervisor::start(tree).await.expect("it starts");
    let by = CommandMeta::new("counted", "what it takes").expect("somebody");
    let result = handle.shutdown_tree(&by).await.expect("it ends");
    assert_eq!(result.report.children.len() as u64, children);
}

async fn restart(times: u64, siblings: u64) {
    let (over, runs) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
    let crashing = ChildSpec::worker("crashing", {
        let (over, runs) = (over.clone(), runs.clone());
        move |ctx: TaskContext| {
            let (over, runs) = (over.clone(), runs.clone());
            async move {
                // A first start that fails is not retried.
                if ctx.generation() == 1 {
                    tokio::task::yield_now().await;
                }
                if runs.fetch_add(1, Ordering::Relaxed) == times {
                    over.notify_one();
                    ctx.cancelled().await;
                    return Ok(());
                }
                Err(std::fmt::Error)
            }
        }
    });
    let tree = tree(siblings).child(crashing.no_fuse().backoff(None));
    let handle = Supervisor::start(tree).await.expect("it starts");
    over.notified().await;
    assert_eq!(runs.load(Ordering::Relaxed), times + 1);
    assert_eq!(handle.statuses().len() as u64, siblings + 1);
}
