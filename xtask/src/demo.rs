use crate::run::{Outcome, cargo, step};

/// Runs the payments example as a user would.
pub(crate) fn demo(args: &[&str]) -> Outcome {
    let own = [
        "run",
        "--release",
        "--example",
        "payments",
        "--",
        "--config",
        "examples/config/supervisor.yaml",
    ];
    step(
        "the payments example; Ctrl-C ends it",
        &mut cargo(own.into_iter().chain(args.iter().copied())),
    )
}
