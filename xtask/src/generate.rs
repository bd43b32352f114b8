use std::{fs, path::PathBuf, process::Command};

use rust_supervisor::{
    SupervisorEvent,
    config::configurable::{json_schema, template_yaml},
    metrics,
};

use crate::run::{Outcome, cargo, root, step};

const METRICS: &str = "\
# Metrics

Through the `metrics` facade: the program installs the recorder it likes, before the tree starts. Counted is unless
`observability.metrics_enabled: false`, `SupervisorSpec::metrics(false)` or `ObserveLayer::metrics(false)` says otherwise. The
label `child` is a path with `*` for a pool's index, `supervisor` a path, `/` for the root: no label has more values
than the tree is declared to have. A dashboard for Grafana that shows all of them is in
[grafana/supervisor.json](grafana/supervisor.json).

";

/// Every generated file with what it has to hold.
fn files() -> [(PathBuf, String); 4] {
    let folder = root().join("examples/config");
    [
        (folder.join("supervisor.template.yaml"), template_yaml()),
        (folder.join("supervisor.schema.json"), json_schema()),
        (
            root().join("docs/event.schema.json"),
            SupervisorEvent::json_schema(),
        ),
        (
            root().join("docs/metrics.md"),
            format!("{METRICS}{}", metrics::table()),
        ),
    ]
}

pub(crate) fn write() -> Outcome {
    for (path, content) in files() {
        fs::write(&path, content)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    step("docs/conformance.md", conformance().env("WRITE_PAGE", "1"))
}

/// What writes, or checks, the list of cases: only the tests' program knows them.
fn conformance() -> Command {
    let test = "list::the_page_is_fresh";
    cargo(["test", "--test", "conformance", "--", "--exact", test])
}

pub(crate) fn check() -> Outcome {
    println!("\n== generated files are fresh");
    let stale: Vec<String> = files()
        .into_iter()
        .filter(|(path, content)| fs::read_to_string(path).ok().as_ref() != Some(content))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if stale.is_empty() {
        return step("docs/conformance.md is fresh", &mut conformance());
    }
    Err(format!(
        "stale: {}; run `cargo xtask generate` and commit",
        stale.join(", ")
    ))
}
