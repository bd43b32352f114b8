use std::collections::HashMap;

use super::Findings;
use crate::{
    config::{ProblemKind, configurable::ChildConfig, nearest::nearest},
    spec::SupervisionStrategy,
};

/// Whether every name in `depends_on` is of a sibling that can start before.
pub(super) fn check(
    findings: &mut Findings,
    strategy: SupervisionStrategy,
    siblings: &[ChildConfig],
    path: &str,
) {
    let mut place = HashMap::new();
    for (index, child) in siblings.iter().enumerate() {
        place.entry(child.name.as_str()).or_insert(index);
    }
    // A name that could not be read may be the one that is looked for.
    let all_named = !place.contains_key("");
    for (index, child) in siblings.iter().enumerate() {
        for (nth, name) in child.depends_on.iter().enumerate() {
            let key = format!("{path}[{index}].depends_on[{nth}]");
            let Some(&needed) = place.get(name.as_str()) else {
                if all_named {
                    let others = || siblings.iter().map(|child| child.name.as_str());
                    findings.note(
                        key,
                        ProblemKind::UnknownName {
                            what: "sibling",
                            name: name.clone(),
                            known: others().map(str::to_owned).collect(),
                            nearest: nearest(name, others()).map(str::to_owned),
                        },
                    );
                }
                continue;
            };
            if strategy == SupervisionStrategy::RestForOne && needed > index {
                let reason = "under RestForOne a child can depend only on those declared before it";
                findings
                    .invalid(key, name.as_str(), reason)
                    .relating(&["supervisor.strategy"]);
            }
        }
    }
    if let Some(cycle) = cycle(siblings, &place) {
        let names: Vec<_> = cycle.iter().map(|&index| &*siblings[index].name).collect();
        findings.invalid(
            format!("{path}[{}].depends_on", cycle[0]),
            siblings[cycle[0]].depends_on.clone(),
            format!("they wait for each other: {}", names.join(" -> ")),
        );
    }
}

/// Siblings that depend on each other, the first again at the end.
fn cycle(siblings: &[ChildConfig], place: &HashMap<&str, usize>) -> Option<Vec<usize>> {
    let needs = |index: usize| {
        let names = siblings[index].depends_on.iter();
        names.filter_map(|name| place.get(name.as_str()).copied())
    };
    // Those that can start, again and again; what never can contains the cycle.
    let mut waiting: Vec<usize> = (0..siblings.len()).map(|i| needs(i).count()).collect();
    let mut needed_by = vec![Vec::new(); siblings.len()];
    for index in 0..siblings.len() {
        needs(index).for_each(|need| needed_by[need].push(index));
    }
    let mut startable: Vec<_> = (0..siblings.len()).filter(|&i| waiting[i] == 0).collect();
    while let Some(started) = startable.pop() {
        for &index in &needed_by[started] {
            waiting[index] -= 1;
            if waiting[index] == 0 {
                startable.push(index);
            }
        }
    }
    // Each that is stuck needs another that is: following them comes back to one seen before.
    let mut way = vec![(0..siblings.len()).find(|&index| waiting[index] > 0)?];
    loop {
        let next = needs(*way.last()?).find(|&need| waiting[need] > 0)?;
        if let Some(start) = way.iter().position(|&index| index == next) {
            way.drain(..start);
            way.push(next);
            return Some(way);
        }
        way.push(next);
    }
}
