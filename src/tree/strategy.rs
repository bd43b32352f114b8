use crate::spec::SupervisionStrategy;

/// Which of `ranks`, in start order, restart with the child of rank `failed`.
pub(super) fn group(
    strategy: SupervisionStrategy,
    ranks: impl Iterator<Item = u64>,
    failed: u64,
) -> impl Iterator<Item = u64> {
    ranks.filter(move |&rank| match strategy {
        SupervisionStrategy::OneForOne => rank == failed,
        SupervisionStrategy::OneForAll => true,
        SupervisionStrategy::RestForOne => rank >= failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_names_its_group() {
        let of = |strategy| group(strategy, 1..=4, 3).collect::<Vec<_>>();
        assert_eq!(of(SupervisionStrategy::OneForOne), [3]);
        assert_eq!(of(SupervisionStrategy::OneForAll), [1, 2, 3, 4]);
        assert_eq!(of(SupervisionStrategy::RestForOne), [3, 4]);
    }
}
