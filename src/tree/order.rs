use std::collections::{BTreeSet, HashMap};

use crate::spec::{Member, SupervisionStrategy};

/// A dependency that cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unordered {
    pub(super) id: String,
    pub(super) on: String,
    pub(super) reason: &'static str,
}

/// The members' levels and positions, in start order; those of one level start side by side.
///
/// Without dependencies each stands alone, as declared. So it is under RestForOne, where only what was
/// declared before can be depended on.
pub(super) fn start_order(
    members: &[Member],
    strategy: SupervisionStrategy,
) -> Result<Vec<(u32, usize)>, Unordered> {
    let as_declared = || (0..).zip(0..members.len()).collect();
    if members.iter().all(|member| member.depends_on().is_empty()) {
        return Ok(as_declared());
    }
    let place: HashMap<&str, usize> = members
        .iter()
        .enumerate()
        .map(|(i, member)| (member.id(), i))
        .collect();
    let mut waits_for: Vec<BTreeSet<usize>> = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        let mut on = BTreeSet::new();
        for name in member.depends_on() {
            let fail = |reason| Unordered {
                id: member.id().to_owned(),
                on: name.clone(),
                reason,
            };
            let &other = place
                .get(name.as_str())
                .ok_or_else(|| fail("there is no such sibling"))?;
            if other == at {
                return Err(fail("a child cannot depend on itself"));
            }
            if strategy == SupervisionStrategy::RestForOne && other > at {
                return Err(fail(
                    "under RestForOne only siblings declared before can be depended on",
                ));
            }
            on.insert(other);
        }
        waits_for.push(on);
    }
    if strategy == SupervisionStrategy::RestForOne {
        return Ok(as_declared());
    }
    let mut dependants: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
    for (at, on) in waits_for.iter().enumerate() {
        for &other in on {
            dependants[other].push(at);
        }
    }
    let mut ready: BTreeSet<usize> = (0..members.len())
        .filter(|&at| waits_for[at].is_empty())
        .collect();
    let mut order = Vec::with_capacity(members.len());
    for level in 0.. {
        let side_by_side = std::mem::take(&mut ready);
        if side_by_side.is_empty() {
            break;
        }
        for &at in &side_by_side {
            for &dependant in &dependants[at] {
                waits_for[dependant].remove(&at);
                if waits_for[dependant].is_empty() {
                    ready.insert(dependant);
                }
            }
        }
        order.extend(side_by_side.into_iter().map(|at| (level, at)));
    }
    let stuck = waits_for
        .iter()
        .enumerate()
        .find_map(|(at, on)| on.first().map(|&other| (at, other)));
    match stuck {
        None => Ok(order),
        Some((at, other)) => Err(Unordered {
            id: members[at].id().to_owned(),
            on: members[other].id().to_owned(),
            reason: "they depend on each other in a circle",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ChildSpec;

    fn member(id: &str, on: &[&str]) -> Member {
        Member::Child(ChildSpec::worker(id, |_| async {}).depends_on(on.iter().copied()))
    }

    fn order(
        members: &[Member],
        strategy: SupervisionStrategy,
    ) -> Result<Vec<(u32, usize)>, Unordered> {
        start_order(members, strategy)
    }

    #[test]
    fn without_dependencies_the_order_is_as_declared() {
        let members = [member("a", &[]), member("b", &[]), member("c", &[])];
        assert_eq!(
            order(&members, SupervisionStrategy::OneForOne).unwrap(),
            [(0, 0), (1, 1), (2, 2)]
        );
    }

    #[test]
    fn what_is_depended_on_comes_first() {
        let members = [
            member("a", &["c"]),
            member("b", &[]),
            member("c", &["d"]),
            member("d", &[]),
        ];
        assert_eq!(
            order(&members, SupervisionStrategy::OneForOne).unwrap(),
            [(0, 1), (0, 3), (1, 2), (2, 0)]
        );
    }

    #[test]
    fn rest_for_one_keeps_the_declared_order() {
        let members = [member("a", &[]), member("b", &["a"]), member("c", &[])];
        assert_eq!(
            order(&members, SupervisionStrategy::RestForOne).unwrap(),
            [(0, 0), (1, 1), (2, 2)]
        );
    }

    #[test]
    fn circles_strangers_and_later_siblings_are_refused() {
        let circle = [member("a", &["b"]), member("b", &["a"])];
        assert!(
            order(&circle, SupervisionStrategy::OneForOne)
                .unwrap_err()
                .reason
                .contains("circle")
        );
        let stranger = [member("a", &["x"])];
        assert!(
            order(&stranger, SupervisionStrategy::OneForOne)
                .unwrap_err()
                .reason
                .contains("no such sibling")
        );
        let itself = [member("a", &["a"])];
        assert!(
            order(&itself, SupervisionStrategy::OneForOne)
                .unwrap_err()
                .reason
                .contains("itself")
        );
        let later = [member("a", &["b"]), member("b", &[])];
        assert!(
            order(&later, SupervisionStrategy::RestForOne)
                .unwrap_err()
                .reason
                .contains("declared before")
        );
        assert!(order(&later, SupervisionStrategy::OneForAll).is_ok());
    }
}
