//! The tables of `docs/supervision.md`, executed: every cell is brought about and looked at.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod cell;
mod commands;
mod limits;
mod puppet;
mod restarts;
mod scene;
mod table;

use std::future::Future;

/// The page whose tables these are.
const PAGE: &str = include_str!("../../docs/supervision.md");

/// Paused time.
fn paused<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Real time, for what blocks a thread.
fn real<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
