use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};

use crate::run::{Outcome, cargo, root};

/// The programs that are measured, the floor first.
const PEERS: [&str; 3] = ["raw", "this", "task-supervisor"];

/// What is measured, at which sizes, and what this library is to reach: so many times the floor, or so much.
const OPERATIONS: [(&str, &[usize], Target); 11] = [
    ("start", &[1_000, 10_000, 100_000], Target::Ratio(1.5)),
    ("memory", &[10_000, 100_000], Target::Value(940.0)),
    ("shutdown", &[1_000, 10_000, 100_000], Target::Ratio(1.5)),
    ("shutdown_reverse", &[1_000, 10_000], Target::None),
    ("restart", &[1], Target::Value(600.0)),
    ("restart_1000", &[1_000], Target::Value(250.0)),
    ("latency", &[100, 10_000, 100_000], Target::Ratio(1.0)),
    ("one_for_all", &[1_000, 10_000], Target::Ratio(3.0)),
    ("add_remove", &[100, 10_000], Target::Ratio(2.0)),
    ("state", &[10_000], Target::Value(6.0)),
    ("state_of_one", &[10_000], Target::Value(200.0)),
];

/// Whose figures are per child.
const PER_CHILD: [&str; 6] = [
    "start",
    "memory",
    "shutdown",
    "shutdown_reverse",
    "one_for_all",
    "state",
];

#[derive(Clone, Copy)]
enum Target {
    Ratio(f64),
    Value(f64),
    None,
}

/// A figure's operation, size and name.
type Key = (&'static str, usize, String);

/// Measures everything, in turn, several times, and prints the medians.
pub(crate) fn bench(arguments: &[&str]) -> Outcome {
    let quick = arguments.contains(&"--quick");
    let json = match arguments.iter().position(|argument| *argument == "--json") {
        Some(at) => Some(arguments.get(at + 1).ok_or("--json needs a file")?),
        None => None,
    };
    let rounds = if quick { 1 } else { 5 };
    let programs = PEERS
        .iter()
        .map(|peer| Ok((*peer, built(peer)?)))
        .collect::<Result<Vec<_>, String>>()?;
    let mut measured: BTreeMap<Key, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for (operation, sizes, _) in OPERATIONS {
        let sizes = sizes.iter().filter(|size| !quick || **size <= 10_000);
        for (size, _) in sizes.flat_map(|size| (0..rounds).map(move |round| (*size, round))) {
            // In turn, so that what the machine does meanwhile happens to all.
            for (peer, program) in &programs {
                for (name, value) in once(program, operation, size)? {
                    let key = (operation, size, name);
                    let values = measured.entry(key).or_default();
                    values.entry(peer).or_default().push(value);
                }
            }
        }
    }
    print(&measured);
    if let Some(file) = json {
        let rows: Vec<_> = measured
            .iter()
            .map(|((operation, size, name), values)| {
                json!({"operation": operation, "size": size, "figure": name, "values": values})
            })
            .collect();
        std::fs::write(file, format!("{:#}\n", json!(rows)))
            .map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

/// Each alone, so that no other's features get into it.
fn built(peer: &str) -> Result<PathBuf, String> {
    let folder = root().join("benches/peers");
    let status = cargo(["build", "--release", "--package", &format!("peer-{peer}")])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("target"))
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    match status.success() {
        true => Ok(folder.join("target/release").join(format!("peer-{peer}"))),
        false => Err(format!("peer-{peer} cannot be built")),
    }
}

fn once(program: &PathBuf, operation: &str, size: usize) -> Result<Vec<(String, f64)>, String> {
    let output = Command::new(program)
        .args([operation, &size.to_string()])
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = || {
        let error = String::from_utf8_lossy(&output.stderr);
        format!("{} {operation} {size}: {said}{error}", program.display())
    };
    let line: Value = serde_json::from_str(said.trim()).map_err(|_| complaint())?;
    if !output.status.success() {
        return Err(complaint());
    }
    let taken = line["taken"].as_object().into_iter().flatten();
    Ok(taken
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .collect())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(measured: &BTreeMap<Key, BTreeMap<&str, Vec<f64>>>) {
    print!("\n{:<18} {:>8} {:<7}", "operation", "size", "");
    for peer in PEERS {
        print!(" {:>16}", peer);
    }
    println!(" {:>8} {:>8}  target", "× raw", "spread");
    for (operation, _, target) in OPERATIONS {
        let rows = measured.iter().filter(|((of, _, _), _)| *of == operation);
        for ((_, size, name), values) in rows {
            let of = |peer: &str| values.get(peer).map(|values| median(values));
            let ratio = of("raw").zip(of("this")).map(|(raw, this)| this / raw);
            let verdict = match (target, of("this")) {
                (Target::None, _) | (_, None) => String::new(),
                (Target::Ratio(most), _) => verdict(ratio, most, "× raw"),
                (Target::Value(most), value) => verdict(value, most, ""),
            };
            print!("{operation:<18} {size:>8} {name:<7}");
            for peer in PEERS {
                print!(" {:>16}", shown(of(peer)));
            }
            let spread = values.get("this").map(|values| spread(values));
            println!(" {:>8} {:>8}  {verdict}", shown(ratio), shown(spread));
        }
        growth(operation, measured);
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// The largest over the smallest.
fn spread(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    largest / values.iter().copied().fold(f64::MAX, f64::min)
}

fn verdict(value: Option<f64>, most: f64, unit: &str) -> String {
    match value {
        Some(value) if value <= most => format!("met (≤ {most}{unit})"),
        Some(_) => format!("missed (≤ {most}{unit})"),
        None => String::new(),
    }
}

/// How the whole grows with the size: 1 is in step with it.
fn growth(operation: &str, measured: &BTreeMap<Key, BTreeMap<&str, Vec<f64>>>) {
    let names: BTreeSet<_> = measured
        .keys()
        .filter(|(of, _, _)| *of == operation)
        .map(|(_, _, name)| name)
        .collect();
    for name in names {
        let mut sizes = measured
            .iter()
            .filter(|((of, _, figure), _)| *of == operation && figure == name)
            .filter_map(|((_, size, _), values)| Some((*size, median(values.get("this")?))));
        if let (Some(first), Some(last)) = (sizes.next(), sizes.next_back()) {
            let sizes = (last.0 as f64 / first.0 as f64).ln();
            let of_figure = (last.1 / first.1).ln() / sizes;
            // A figure per child is one of all of them; the others are of one operation among so many.
            let (what, flat) = match PER_CHILD.contains(&operation) {
                true => ("the whole grows", 1.0),
                false => ("it grows", 0.0),
            };
            let exponent = flat + of_figure;
            println!(
                "{:<18} {name:<7} {what} with the size to the {exponent:.2}",
                ""
            );
        }
    }
}
