//! Its tasks are transient children; to kill is to pause, to restart what was killed is to resume.

mod handle;
mod lifecycle;
mod others;
mod shutdown;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rust_supervisor::{ChildSpec, SupervisorHandle, SupervisorSpec};

use crate::{case::Source, support::start};

pub(crate) const SOURCE: Source = Source {
    title: "task-supervisor 0.5",
    about: "All tests of the crate. Its tasks are read as transient children; `kill_task` as `pause_child`, a restart \
            of what was killed as `resume_child`; a dead task as one whose fuse has blown.",
    module: "task_supervisor",
    cases: &[
        handle::CASES,
        lifecycle::CASES,
        shutdown::CASES,
        others::CASES,
    ],
};

/// Fails at once, and counts.
#[derive(Clone, Default)]
struct Failing {
    runs: Arc<AtomicUsize>,
}

impl Failing {
    pub(super) fn child(&self, id: &str) -> ChildSpec {
        let runs = self.runs.clone();
        ChildSpec::job(id, move |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            async {
                // Its start does not fail.
                tokio::task::yield_now().await;
                Err::<(), _>("boom")
            }
        })
    }

    pub(super) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

async fn one(child: ChildSpec) -> SupervisorHandle {
    start(SupervisorSpec::one_for_one("t").child(child)).await
}
