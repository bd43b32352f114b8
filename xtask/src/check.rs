use std::fs;

use serde_json::Value;

use crate::{
    generate,
    run::{Outcome, cargo, step},
};

/// Everything that has to pass, the quickest first.
pub(crate) fn all() -> Outcome {
    step("formatting", &mut cargo(["fmt", "--all", "--check"]))?;
    generate::check()?;
    layers_stand_alone()?;
    step(
        "lints",
        &mut cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step("tests", &mut cargo(["test", "--workspace"]))?;
    step(
        "documentation",
        cargo(["doc", "--workspace", "--no-deps", "--all-features"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // The tests above have the test kit with them, whoever uses the library has not.
    step(
        "the library without its test kit",
        &mut cargo(["check", "--package", "rust-tokio-supervisor", "--lib"]),
    )?;
    payments()?;
    println!("\neverything passed");
    Ok(())
}

/// Whoever uses the layers alone does not get the configuration stack with them.
fn layers_stand_alone() -> Outcome {
    println!("\n== the layers crate stands alone");
    let tree = cargo([
        "tree",
        "--package",
        "rust-tokio-supervisor-layers",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ])
    .output()
    .map_err(|error| format!("cargo tree cannot be run: {error}"))?;
    if !tree.status.success() {
        return Err(String::from_utf8_lossy(&tree.stderr).into_owned());
    }
    let tree = String::from_utf8_lossy(&tree.stdout);
    let unwanted: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| {
            [
                "confique",
                "figment",
                "rust-config-tree",
                "schemars",
                "serde_yaml",
            ]
            .contains(name)
        })
        .collect();
    if unwanted.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the layers crate depends on {}",
        unwanted.join(", ")
    ))
}

/// The main job for ten seconds, and what its report has to say.
fn payments() -> Outcome {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let report = folder.path().join("report.json");
    let run = [
        "run",
        "--example",
        "payments",
        "--",
        "--config",
        "examples/config/supervisor.yaml",
        "--for",
        "10s",
        "--report",
    ];
    step(
        "ten seconds of the payments example",
        cargo(run).arg(&report),
    )?;
    let text =
        fs::read_to_string(&report).map_err(|error| format!("{}: {error}", report.display()))?;
    let report: Value =
        serde_json::from_str(&text).map_err(|error| format!("the report: {error}"))?;
    let problems = problems(&report);
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the report of the payments example: {}\n{text}",
        problems.join("; ")
    ))
}

fn problems(report: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expect =
        |what: &str, pointer: &str, holds: &dyn Fn(&Value) -> bool| match report.pointer(pointer) {
            Some(value) if holds(value) => {}
            Some(value) => problems.push(format!("{what}: {pointer} is {value}")),
            None => problems.push(format!("{what}: there is no {pointer}")),
        };
    let some = |value: &Value| value.as_u64().is_some_and(|count| count > 0);
    expect("no order is lost", "/orders/lost", &|value| value == 0);
    expect("orders were accepted", "/orders/accepted", &some);
    expect("orders were settled", "/orders/settled", &some);
    expect("malformed orders were rejected", "/orders/rejected", &some);
    expect("the shutdown was clean", "/shutdown/clean", &|value| {
        value == true
    });
    for record in [
        "/events_agree",
        "/witnesses/metrics",
        "/witnesses/journal_file",
        "/witnesses/audit_file",
    ] {
        expect("all records tell the same", record, &|value| value == true);
    }
    problems
}
