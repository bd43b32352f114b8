//! Why did it end like this? Reads the journal file of a process that is gone, or of one that runs.
//!
//! `cargo run --example postmortem -- FILE`, and `--json` for programs.

use std::process::ExitCode;

use rust_supervisor::{Journal, RunSummary};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    arguments.retain(|argument| argument != "--json");
    let [file] = arguments.as_slice() else {
        eprintln!("Usage: postmortem FILE [--json]");
        return ExitCode::from(2);
    };
    match Journal::open(file).and_then(RunSummary::of_journal) {
        Ok(summary) if json => println!("{}", serde_json::json!(summary)),
        Ok(summary) => println!("{summary}"),
        Err(error) => {
            eprintln!("postmortem: {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
