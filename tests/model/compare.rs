//! Whether two traces are of the same history.

use std::{collections::BTreeMap, fmt::Debug};

use rust_supervisor::{ChildShutdownStatus, EscalationPolicy};

use super::trace::{Entry, Started, Step, Trace};

/// What differs, said of the first thing that does.
pub fn compare(model: &Trace, real: &Trace) -> Result<(), String> {
    same("the start", &model.start, &real.start)?;
    if model.start != Some(Started::Yes) {
        return Ok(());
    }
    let (by_model, by_real) = (by_path(&model.steps), by_path(&real.steps));
    // The first moment at which they part says most.
    let mut parted: Option<(u64, String)> = None;
    for path in by_model.keys().chain(by_real.keys()) {
        let empty = Vec::new();
        let expected = by_model.get(path).unwrap_or(&empty);
        let got = by_real.get(path).unwrap_or(&empty);
        let Some(at) =
            (0..expected.len().max(got.len())).find(|&at| expected.get(at) != got.get(at))
        else {
            continue;
        };
        let when = [expected.get(at), got.get(at)].into_iter().flatten();
        let when = when.map(|entry| entry.at).min().unwrap_or(0);
        if parted.as_ref().is_none_or(|(first, _)| when < *first) {
            let said = format!(
                "step {at} of {path}: the model has {:?}, the library {:?}",
                expected.get(at),
                got.get(at)
            );
            parted = Some((when, said));
        }
    }
    if let Some((_, said)) = parted {
        return Err(said);
    }
    for (line, (expected, got)) in model.answers.iter().zip(&real.answers).enumerate() {
        same(&format!("the answer to line {line}"), expected, got)?;
    }
    for ((at, expected), (when, got)) in model.looks.iter().zip(&real.looks) {
        same("the time of a look", at, when)?;
        let paths = (expected.keys().collect::<Vec<_>>(), got.keys().collect());
        same(&format!("who is there at {at}"), &paths.0, &paths.1)?;
        for (path, expected) in expected {
            same(&format!("{path} at {at}"), &Some(expected), &got.get(path))?;
        }
    }
    same("the number of looks", &model.looks.len(), &real.looks.len())?;
    same("the outcome", &model.outcome, &real.outcome)?;
    same("the shutdowns", &shutdowns(model), &shutdowns(real))
}

/// By path. A supervisor that shuts the tree down by giving up may be down before it is asked in its turn.
fn shutdowns(trace: &Trace) -> Vec<(String, u64, ChildShutdownStatus)> {
    let by_one = Step::Escalated(EscalationPolicy::ShutdownTree);
    let by_one = trace.steps.iter().find(|entry| entry.step == by_one);
    let mut children = trace.shutdowns.clone();
    for (path, _, status) in &mut children {
        if by_one.is_some_and(|one| one.path == *path) {
            *status = ChildShutdownStatus::AlreadyExited;
        }
    }
    children.sort();
    children
}

pub fn same<T: Debug + PartialEq>(what: &str, model: &T, real: &T) -> Result<(), String> {
    if model == real {
        return Ok(());
    }
    Err(format!(
        "{what}: the model has {model:?}, the library {real:?}"
    ))
}

fn by_path(steps: &[Entry]) -> BTreeMap<&str, Vec<&Entry>> {
    let mut paths: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for step in steps {
        paths.entry(&step.path).or_default().push(step);
    }
    paths
}
