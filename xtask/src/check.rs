use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    generate, instructions,
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
    instructions::guard()?;
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
    let scrape = scraped(cargo(run).arg(&report).args(["--metrics", "127.0.0.1:0"]))?;
    let text =
        fs::read_to_string(&report).map_err(|error| format!("{}: {error}", report.display()))?;
    let report: Value =
        serde_json::from_str(&text).map_err(|error| format!("the report: {error}"))?;
    let mut problems = problems(&report);
    problems.extend(unlike(&scrape, &report));
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the report of the payments example: {}\n{text}",
        problems.join("; ")
    ))
}

/// Runs the example to its end, and answers what a scrape showed on the way.
fn scraped(example: &mut Command) -> Result<String, String> {
    println!("\n== ten seconds of the payments example, scraped");
    let mut example = example
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the example cannot be run: {error}"))?;
    let mut scrape = String::new();
    let mut address = None;
    let stdout = example.stdout.take().into_iter();
    for line in stdout.flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        if let Some(url) = line.strip_prefix("metrics: http://") {
            address = url.split('/').next().map(str::to_owned);
        }
        // It shows its tree once a second; what is scraped last is what counts.
        if line.starts_with("orders: ")
            && let Some(address) = &address
            && let Ok(page) = get(address)
        {
            scrape = page;
        }
    }
    let status = example.wait().map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(scrape),
        false => Err(format!("the payments example: {status}")),
    }
}

fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(
        format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// What of a scrape cannot be, as the report has it: it was made a little sooner.
fn unlike(scrape: &str, report: &Value) -> Vec<String> {
    let exits = |exit: &str| -> u64 {
        let wanted = format!("exit=\"{exit}\"");
        let lines = scrape.lines().filter(|line| {
            line.starts_with("supervisor_child_exits_total{") && line.contains(&wanted)
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    };
    let told = |exit: &str| report["exits"][exit].as_u64().unwrap_or_default();
    let mut unlike = Vec::new();
    if exits("failed") == 0 || exits("failed") > told("failed") {
        unlike.push(format!(
            "a scrape shows {} failed runs, the report {}",
            exits("failed"),
            told("failed")
        ));
    }
    for metric in ["supervisor_child_exits_total", "supervisor_child_running"] {
        for about in ["HELP", "TYPE"] {
            if !scrape.contains(&format!("# {about} {metric} ")) {
                unlike.push(format!("a scrape has no {about} of {metric}"));
            }
        }
    }
    unlike
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
