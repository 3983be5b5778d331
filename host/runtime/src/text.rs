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

/// Shortens a text that a caller sent to 100 bytes, so that it fits into a message.
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    let end = text.floor_char_boundary(LONGEST);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        assert_eq!([0, 999, 1_000, 3_145_728].map(grouped), ["0", "999", "1,000", "3,145,728"]);
    }
}
