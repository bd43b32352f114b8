//! The list of all cases: complete, true, and printed.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path, process::Command};

use crate::case::{Answer, Source};

const SOURCES: [&Source; 5] = [
    &crate::otp::SOURCE,
    &crate::suture::SOURCE,
    &crate::ractor_supervisor::SOURCE,
    &crate::task_supervisor::SOURCE,
    &crate::traps::SOURCE,
];

/// A test's name as the test runner has it.
fn in_crate(path: &str) -> &str {
    path.split_once("::").map_or(path, |(_, rest)| rest)
}

/// Every test of the sources, as this program lists them.
fn tests_there_are() -> BTreeSet<String> {
    let listed = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let of_a_source = |test: &&str| {
        let (module, _) = test.split_once("::").unwrap();
        SOURCES.iter().any(|source| source.module == module)
    };
    listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(of_a_source)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let mut named = BTreeSet::new();
    for case in SOURCES.iter().flat_map(|source| source.cases()) {
        if let Answer::Test(path) = case.answer {
            named.insert(in_crate(path).to_owned());
        }
    }
    assert_eq!(named, tests_there_are());
}

#[test]
fn no_case_stands_twice() {
    for source in SOURCES {
        let mut seen = BTreeSet::new();
        for case in source.cases() {
            assert!(seen.insert(case.name), "{}: {}", source.title, case.name);
        }
    }
}

fn tally(source: &Source) -> (usize, usize) {
    let tested = |case: &&crate::case::Case| matches!(case.answer, Answer::Test(_));
    let tests = source.cases().filter(tested).count();
    (tests, source.cases().count() - tests)
}

fn page() -> String {
    let mut page = String::from(
        "<!-- Written by `cargo xtask generate` from tests/conformance/. -->\n\n\
         # Conformance\n\n\
         What the tests of other supervisors demand, case by case, and what shows that it holds here. The tests\n\
         are in `tests/conformance/`, written from the demand. A case that does not apply says why.\n\n\
         | source | cases | tested | explained |\n|---|---|---|---|\n",
    );
    for source in SOURCES {
        let (tested, explained) = tally(source);
        let all = tested + explained;
        let title = source.title;
        let _ = writeln!(page, "| {title} | {all} | {tested} | {explained} |");
    }
    for source in SOURCES {
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n| case | demand | here |\n|---|---|---|\n",
            source.title, source.about
        );
        for case in source.cases() {
            let here = match case.answer {
                Answer::Test(path) => format!("`{}`", in_crate(path)),
                Answer::Explained(why) => format!("*does not apply:* {why}"),
            };
            let _ = writeln!(page, "| `{}` | {} | {here} |", case.name, case.demand);
        }
    }
    page
}

/// `WRITE_PAGE` set: `cargo xtask generate` asks for it to be written.
#[test]
fn the_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let page = page();
    if std::env::var_os("WRITE_PAGE").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "{} is stale; run `cargo xtask generate` and commit",
        path.display()
    );
}
