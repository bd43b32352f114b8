use crate::spec::SupervisionStrategy;

/// Whether a sibling restarts with the child that failed. Both by instance: a greater one was declared,
/// or added, later.
pub(super) fn group(strategy: SupervisionStrategy, failed: u64) -> impl Fn(u64) -> bool {
    move |sibling| match strategy {
        SupervisionStrategy::OneForOne => sibling == failed,
        SupervisionStrategy::OneForAll => true,
        SupervisionStrategy::RestForOne => sibling >= failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_names_its_group() {
        let of = |strategy| {
            (1..=4)
                .filter(|&at| group(strategy, 3)(at))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(SupervisionStrategy::OneForOne), [3]);
        assert_eq!(of(SupervisionStrategy::OneForAll), [1, 2, 3, 4]);
        assert_eq!(of(SupervisionStrategy::RestForOne), [3, 4]);
    }
}
