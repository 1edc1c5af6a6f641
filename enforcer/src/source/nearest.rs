//! Suggestions for misspelt words.

/// Returns the allowed word that is nearest to a word, if at most a third of its letters differ.
/// Not more: `ICMP` must not suggest `TCP`.
pub(crate) fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = word.trim().to_lowercase();
    let distance = |it: &str| strsim::damerau_levenshtein(&word, &it.to_lowercase());
    let best = allowed.iter().copied().min_by_key(|it| distance(it))?;
    (distance(best) <= (best.len() / 3).max(1)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let all = ["TCP", "UDP", "SCTP"];
        assert_eq!(nearest("tcp", &all), Some("TCP"));
        assert_eq!(nearest("TPC", &all), Some("TCP"));
        assert_eq!(nearest("SCPT", &all), Some("SCTP"));
        assert_eq!(nearest("ICMP", &all), None);
        assert_eq!(nearest("", &all), None);
    }
}
