use std::collections::{BTreeMap, BTreeSet};

use super::{Measured, OPERATIONS, Target};

/// Whose figures are per child.
const PER_CHILD: [&str; 6] = [
    "start",
    "memory",
    "shutdown",
    "shutdown_reverse",
    "one_for_all",
    "state",
];
/// What is no difference on a machine that does other things too.
const NOISE: f64 = 1.3;
/// What is no peer: the floors, one of them with nothing but a count of its tasks, and this library.
const OURS: [&str; 6] = [
    "raw",
    "raw-handles",
    "raw-loop",
    "task-tracker",
    "this",
    "this-bare",
];

/// Every figure of everybody, then what it comes to.
pub(super) fn print(measured: &Measured) {
    for (operation, _, _) in OPERATIONS {
        let rows = measured.iter().filter(|((of, _, _), _)| *of == operation);
        for ((_, size, figure), values) in rows {
            println!("\n{operation} {size} ({figure})");
            let floor = values.get("raw").map(|values| median(values));
            let mut peers: Vec<_> = values.iter().collect();
            peers.sort_by(|a, b| median(a.1).total_cmp(&median(b.1)));
            for (peer, values) in peers {
                let (middle, least, most) = (median(values), least(values), most(values));
                let ratio = floor.map(|floor| format!("{:8.2} × raw", middle / floor));
                println!(
                    "    {peer:<26} {middle:>12.1}  ({least:.1} to {most:.1}) {}",
                    ratio.unwrap_or_default()
                );
            }
        }
    }
    println!(
        "\n{:<21} {:>8} {:<7} {:>12} {:>8}  {:<34} target",
        "operation", "size", "", "this", "× raw", "best peer"
    );
    for (operation, _, target) in OPERATIONS {
        let rows = measured.iter().filter(|((of, _, _), _)| *of == operation);
        for ((_, size, figure), values) in rows {
            summary(operation, *size, figure, values, target, measured);
        }
        growth(operation, measured);
    }
}

fn summary(
    operation: &'static str,
    size: usize,
    figure: &str,
    values: &BTreeMap<&str, Vec<f64>>,
    target: Target,
    measured: &Measured,
) {
    let of = |peer: &str| values.get(peer).map(|values| median(values));
    let Some(this) = of("this") else { return };
    let ratio = of("raw").map(|raw| this / raw);
    let best = values
        .iter()
        .filter(|(peer, _)| !OURS.contains(peer))
        .map(|(peer, values)| (*peer, median(values)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let best = best.map_or_else(String::new, |(peer, value)| {
        let ahead = if this / value > NOISE { ", ahead" } else { "" };
        format!("{peer} {value:.1} ({:.2}{ahead})", this / value)
    });
    let other = |operation| {
        let floor = measured
            .get(&(operation, size, figure.to_owned()))?
            .get("raw")?;
        Some(this / median(floor))
    };
    let target = match target {
        Target::Ratio(most) => verdict(ratio, most, " × raw"),
        Target::Floor(operation, most) => {
            verdict(other(operation), most, &format!(" × raw {operation}"))
        }
        Target::Value(most) => verdict(Some(this), most, ""),
    };
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!("{operation:<21} {size:>8} {figure:<7} {this:>12.1} {ratio:>8}  {best:<34} {target}");
}

fn verdict(value: Option<f64>, most: f64, unit: &str) -> String {
    match value {
        Some(value) if value <= most => format!("met (≤ {most}{unit})"),
        Some(_) => format!("missed (≤ {most}{unit})"),
        None => String::new(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

/// How the whole grows with the size: 1 is in step with it.
fn growth(operation: &str, measured: &Measured) {
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
                "{:<21} {name:<7} {what} with the size to the {exponent:.2}",
                ""
            );
        }
    }
}
