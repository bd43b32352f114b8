//! The project's own commands: `cargo xtask demo`, `cargo xtask test`, `cargo xtask generate`.

mod check;
mod demo;
mod generate;
mod instructions;
mod peers;
mod run;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  demo [ARGS...]       runs the payments example until Ctrl-C; ARGS go to it (--for 10s, --report FILE)
  test                 runs everything that has to pass
  bench-peers [--quick] [--rounds N] [--json FILE]
                       measures this library, its peers and plain tasks, in turn, and prints the medians
  instructions         counts the instructions of a start, a life and a restart, and says what has changed
  generate [--check]   writes the generated files, or says which are stale
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["demo", rest @ ..] => demo::demo(rest),
        ["test"] => check::all(),
        ["bench-peers", rest @ ..] => peers::bench(rest),
        ["instructions"] => instructions::guard(),
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no such command: {}\n\n{HELP}", args.join(" "))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
