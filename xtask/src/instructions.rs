use std::process::{Command, Stdio};

use crate::run::{Outcome, cargo, root, step};

/// What is counted, between which numbers of times, and how many instructions one of them takes. They depend on the
/// compiler; what takes more than a tenth more or less has to say why, here.
const COUNTED: [(&str, &[&str], [u64; 2], u64); 4] = [
    ("start, per child", &["start"], [500, 2_500], 10_400),
    ("start and shutdown", &["life"], [500, 2_500], 17_550),
    ("restart", &["restart"], [1_000, 5_000], 3_900),
    (
        "restart among 1,000",
        &["restart", "1000"],
        [1_000, 5_000],
        3_900,
    ),
];
const BAND: f64 = 0.1;

/// Counts instructions where they can be counted: time is no measure on a machine that others use.
pub(crate) fn guard() -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("\n== instructions are counted on Linux on x86-64 alone");
        return Ok(());
    }
    let valgrind = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if valgrind.is_err() {
        println!(
            "\n== instructions are not counted: valgrind is not installed (Debian: apt-get install valgrind)"
        );
        return Ok(());
    }
    step(
        "what instructions are counted of",
        &mut cargo(["build", "--release", "--package", "counted"]),
    )?;
    println!("\n== instructions");
    let mut outside = Vec::new();
    for (what, arguments, [few, many], expected) in COUNTED {
        let more = instructions(arguments, many)? - instructions(arguments, few)?;
        let each = more as f64 / (many - few) as f64;
        println!("{what:<22} {each:>8.0}, expected {expected}");
        if (each / expected as f64 - 1.0).abs() > BAND {
            outside.push(format!(
                "{what} takes {each:.0} instructions and not {expected}"
            ));
        }
    }
    match outside.is_empty() {
        true => Ok(()),
        false => Err(outside.join("; ")),
    }
}

fn instructions(arguments: &[&str], times: u64) -> Result<u64, String> {
    let (operation, siblings) = (arguments[0], arguments.get(1).copied().unwrap_or("0"));
    let program = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
        .join("release/counted");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([operation, &times.to_string(), siblings])
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("valgrind counted nothing: {said}"))
}
