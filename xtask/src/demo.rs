use std::process::Command;

use crate::run::{Outcome, cargo};

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
    println!("== the payments example; Ctrl-C ends it");
    become_it(&mut cargo(own.into_iter().chain(args.iter().copied())))
}

/// Takes this process's place, so that Ctrl-C reaches the example alone and its exit code the shell.
#[cfg(unix)]
fn become_it(command: &mut Command) -> Outcome {
    use std::os::unix::process::CommandExt;

    Err(format!("cargo cannot be run: {}", command.exec()))
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Outcome {
    crate::run::step("the payments example", command)
}
