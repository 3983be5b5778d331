//! Text for messages and reports.

/// Formats a whole number with commas between thousands: `3,145,728`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Shortens a text that a caller sent to 100 bytes, so that it fits into a message, and escapes it as [`printable`].
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    printable(text, LONGEST)
}

/// The first `longest` bytes of a text, or a little less, in memory of that size: a text that is only truncated keeps the
/// memory of its whole length.
pub fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        return text[..text.floor_char_boundary(longest)].to_owned();
    }
    text.shrink_to_fit();
    text
}

/// Makes a text from elsewhere (a plugin, a registry, a caller) safe to print: at most `longest` bytes of it, and
/// characters that are not printable are escaped (`\u{1b}`). These are control characters, which could make terminals do
/// something or forge lines, and invisible ones, which could reverse the direction of the text around them.
pub fn printable(text: &str, longest: usize) -> String {
    let end = text.floor_char_boundary(longest);
    let mut shown = escaped(&text[..end], |_| false);
    if end < text.len() {
        shown.push('…');
    }
    shown
}

/// As [`printable`], but of any length, and ends of lines stay. For reports of many lines.
pub fn printable_lines(text: &str) -> String {
    escaped(text, |letter| letter == '\n')
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if stays(letter) || letter == ' ' || letter.is_ascii_graphic() {
            shown.push(letter);
        } else {
            // The letter is escaped after another one, because a combining character is escaped only at the start of a
            // text.
            shown.extend(String::from_iter(['x', letter]).escape_debug().skip(1));
        }
    }
    shown
}

/// Joins names for a message: the first ten, and how many more there are.
pub fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MAX_LISTED: usize = 10;
    let more = names.len().saturating_sub(MAX_LISTED);
    let listed = names.take(MAX_LISTED).collect::<Vec<_>>().join(", ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::{cut, grouped, listed, printable, printable_lines};

    #[test]
    fn a_text_that_is_cut_keeps_no_more_memory() {
        let text = cut("é".repeat(1 << 20), 1_001);
        assert_eq!((text.len(), text.capacity() <= 1_001), (1_000, true));
        let mut roomy = String::with_capacity(1 << 20);
        roomy.push('x');
        assert!(cut(roomy, 1_000).capacity() < 1_000);
    }

    #[test]
    fn at_most_ten_names_are_listed() {
        let names: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        assert_eq!(listed(names[..2].iter().map(String::as_str)), "0, 1");
        assert_eq!(listed(names.iter().map(String::as_str)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 490 more");
    }

    #[test]
    fn thousands_are_grouped_from_the_right() {
        assert_eq!([0, 999, 1_000, 3_145_728].map(grouped), ["0", "999", "1,000", "3,145,728"]);
    }

    #[test]
    fn characters_that_are_not_printable_are_escaped() {
        for (text, shown) in [
            ("José, 日本 \"it's\" a\\b — e\u{301}", "José, 日本 \"it's\" a\\b — e\u{301}"),
            ("\u{1b}[2J\r\n\0\u{7f}\u{9b}", "\\u{1b}[2J\\r\\n\\0\\u{7f}\\u{9b}"),
            (
                "a\u{202e}b\u{2066}\u{200b}\u{feff}\u{2028}\u{61c}\u{e0041}",
                "a\\u{202e}b\\u{2066}\\u{200b}\\u{feff}\\u{2028}\\u{61c}\\u{e0041}",
            ),
        ] {
            assert_eq!(printable(text, 1_000), shown);
        }
        assert_eq!(printable("ééé", 3), "é…");
        assert_eq!(printable_lines("a\n\tb"), "a\n\\tb");
    }
}
