//! Finds the word that was probably meant.

/// Words that are less alike than this are different words. `sha265` and `sha256` have 0.97, `to` and `by` 0.
const ALIKE: f64 = 0.75;

/// The known word that is most like `word`. `None` if none is like it.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let alike = known.into_iter().map(|known| (strsim::jaro_winkler(&word, &known.to_lowercase()), known));
    alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_errors_are_near_and_other_words_are_not() {
        let known = ["sha256", "version", "to", "pipeline", "format", "by"];
        for (word, meant) in [
            ("sha265", Some("sha256")),
            ("SHA256", Some("sha256")),
            ("too", Some("to")),
            ("verison", Some("version")),
            ("pipelin", Some("pipeline")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
