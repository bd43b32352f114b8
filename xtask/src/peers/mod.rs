//! Measures this library beside its peers: each in a process of its own, in turn.

mod program;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use program::{Figure, Program, Run};
use serde_json::json;
use table::print;

use crate::run::Outcome;

/// The programs in Rust and the packages they are in, the floor first.
const PEERS: [(&str, &str); 12] = [
    ("raw", "raw"),
    ("raw-handles", "raw"),
    ("raw-loop", "raw"),
    ("this", "this"),
    ("this-bare", "this"),
    ("task-supervisor", "task-supervisor"),
    ("taskvisor", "taskvisor"),
    ("ractor", "ractor"),
    ("kameo", "kameo"),
    ("tokio-graceful-shutdown", "tokio-graceful-shutdown"),
    ("task-tracker", "task-tracker"),
    ("rust-tokio-supervisor-0-1", "rust-tokio-supervisor-0-1"),
];

/// What is measured, at which sizes, and what this library is to reach: so many times the floor, or so much.
const OPERATIONS: [(&str, &[usize], Target); 12] = [
    (
        "start",
        &[1_000, 10_000, 100_000, 1_000_000],
        Target::Ratio(1.5),
    ),
    (
        "memory",
        &[10_000, 100_000, 1_000_000],
        Target::Value(940.0),
    ),
    (
        "shutdown",
        &[1_000, 10_000, 100_000, 1_000_000],
        Target::Ratio(1.5),
    ),
    (
        "shutdown_reverse",
        &[1_000, 10_000, 100_000],
        Target::Floor("shutdown", 5.0),
    ),
    ("restart", &[1], Target::Value(600.0)),
    ("restart_1000", &[1_000], Target::Value(250.0)),
    ("latency", &[100, 10_000, 100_000], Target::Ratio(1.0)),
    ("one_for_all", &[1_000, 10_000], Target::Ratio(3.0)),
    ("add_remove", &[100, 10_000], Target::Ratio(2.0)),
    (
        "add_remove_by_command",
        &[100, 10_000],
        Target::Floor("add_remove", 2.0),
    ),
    ("state", &[10_000], Target::Value(6.0)),
    ("state_of_one", &[10_000], Target::Value(200.0)),
];

#[derive(Clone, Copy)]
enum Target {
    /// So many times what the floor takes for it.
    Ratio(f64),
    /// So many times what the floor takes for another operation.
    Floor(&'static str, f64),
    Value(f64),
}

/// A figure's operation, size and name.
type Key = (&'static str, usize, String);

/// All figures of all programs.
type Measured = BTreeMap<Key, BTreeMap<&'static str, Vec<f64>>>;

/// What the command line asks for.
#[derive(Default)]
struct Wanted<'a> {
    quick: bool,
    rounds: Option<usize>,
    json: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(arguments: &[&'a str]) -> Result<Self, String> {
        let (mut wanted, mut arguments) = (Self::default(), arguments.iter().copied());
        while let Some(argument) = arguments.next() {
            match argument {
                "--quick" => wanted.quick = true,
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                    wanted.rounds = Some(
                        rounds
                            .filter(|&rounds| rounds > 0)
                            .ok_or("--rounds needs a number")?,
                    );
                }
                "--json" => wanted.json = Some(arguments.next().ok_or("--json needs a file")?),
                _ => return Err(format!("bench-peers knows no {argument}")),
            }
        }
        Ok(wanted)
    }
}

/// Runs a program until that has taken a tenth of a second in all: of one short run the machine says more than the
/// program. Answers the figures, and whether it is to be asked again.
#[expect(clippy::disallowed_methods, reason = "real time is what it is about")]
fn turn(program: &Program, operation: &str, size: usize) -> Result<(Vec<Figure>, bool), String> {
    let began = Instant::now();
    let mut figures = Vec::new();
    while began.elapsed() < Duration::from_millis(100) {
        match program.run(operation, size) {
            Ok(Run::Took(more)) => figures.extend(more),
            Ok(Run::LeftOut) => return Ok((figures, false)),
            Ok(Run::TooLong) => {
                println!("{} takes too long: {operation} {size}", program.name);
                return Ok((figures, false));
            }
            Err(failure) if program.name == "this" => return Err(failure),
            Err(failure) => {
                println!("{failure}");
                return Ok((figures, false));
            }
        }
    }
    Ok((figures, true))
}

/// Measures everything, in turn, several times, and prints the medians.
pub(crate) fn bench(arguments: &[&str]) -> Outcome {
    let wanted = Wanted::of(arguments)?;
    let (rounds, largest) = match wanted.quick {
        true => (wanted.rounds.unwrap_or(1), 10_000),
        false => (wanted.rounds.unwrap_or(5), usize::MAX),
    };
    let mut programs = PEERS
        .into_iter()
        .map(|(name, package)| Program::rust(name, package))
        .collect::<Result<Vec<_>, _>>()?;
    match Program::script("erlang", "escript", "erlang/peer.escript") {
        Some(erlang) => programs.push(erlang),
        None => println!("Erlang is left out: there is no escript here"),
    }
    match Program::go("suture") {
        Some(suture) => programs.push(suture),
        None => println!("suture is left out: it cannot be built with a go that is here"),
    }
    let mut measured = Measured::new();
    for (operation, sizes, _) in OPERATIONS {
        // Who takes too long is not asked for more.
        let mut slow = BTreeSet::new();
        for size in sizes.iter().copied().filter(|size| *size <= largest) {
            // The largest take long, and vary little.
            let rounds = if size > 100_000 {
                rounds.min(2)
            } else {
                rounds
            };
            for _ in 0..rounds {
                // In turn, so that what the machine does meanwhile happens to all.
                for program in &programs {
                    if slow.contains(program.name) {
                        continue;
                    }
                    let (figures, again) = turn(program, operation, size)?;
                    if !again {
                        slow.insert(program.name);
                    }
                    for (figure, value) in figures {
                        let values = measured.entry((operation, size, figure)).or_default();
                        values.entry(program.name).or_default().push(value);
                    }
                }
            }
        }
    }
    print(&measured);
    if let Some(file) = wanted.json {
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
