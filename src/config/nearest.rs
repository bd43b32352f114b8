/// The known name that was probably meant, where one is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|&(distance, name)| distance <= name.chars().count().div_ceil(4).max(2))
        .filter(|&(distance, _)| 2 * distance < word.chars().count())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["max_backoff_ms", "initial_backoff_ms"];
        assert_eq!(nearest("max_backof_ms", known), Some("max_backoff_ms"));
        assert_eq!(nearest("colour", known), None);
    }
}
