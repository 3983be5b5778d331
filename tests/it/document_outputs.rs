//! Compares what a command prints with what a document says. Times, request ids and the last digits of numbers may differ.

/// Describes the first difference. `…` in the document stands for any text, and a line `…` for any lines.
pub(crate) fn differences(expected: &str, printed: &str) -> Option<String> {
    let expected: Vec<String> = expected.lines().map(comparable).collect();
    let printed: Vec<String> = printed.lines().map(comparable).collect();
    if lines_match(&expected, &printed) {
        return None;
    }
    let at = expected.iter().zip(&printed).take_while(|(wanted, line)| line_matches(wanted, line)).count();
    let line = |lines: &[String]| lines.get(at).map_or_else(|| "(the end)".to_owned(), |line| format!("{line:?}"));
    Some(format!("line {} is {} instead of {}", at + 1, line(&printed), line(&expected)))
}

fn lines_match(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "…" => (0..=printed.len()).any(|from| lines_match(rest, &printed[from..])),
        Some((first, rest)) => {
            printed.split_first().is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others))
        }
    }
}

/// True if a line is as the document says. `…` stands for any text.
pub(crate) fn line_matches(expected: &str, line: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return expected == line };
    let Some(mut line) = line.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let end = parts.pop().expect("a part");
    for part in parts {
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
    }
    line.ends_with(end)
}

/// A line without what differs between two runs: values of some headers, fractions of times. Spaces are joined.
fn comparable(line: &str) -> String {
    for header in ["x-request-id:", "server-timing:", "date:", "content-length:"] {
        if line.starts_with(header) {
            return header.to_owned();
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_json = line.starts_with('{');
    let mut text = String::new();
    let mut rest = words.join(" ");
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = rest[at..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(rest.len(), |end| at + end);
        let (before, digits) = (&rest[..at], &rest[at..number]);
        text += before;
        match digits.parse::<f64>() {
            // The last digits of a result differ between processors; other fractions are times.
            Ok(value) if digits.contains('.') && !digits.ends_with('.') => {
                text += &if is_json { format!("{value:.3e}") } else { "#".to_owned() };
            }
            _ => text += digits,
        }
        rest = rest[number..].to_owned();
    }
    text + &rest
}

#[test]
fn outputs_are_compared_as_documents_mean_them() {
    for (expected, printed) in [
        ("a\n…\nd\n", "a\nb\nc\nd\n"),
        ("took … s, …\n", "took 3 s, and more\n"),
        ("{\"p\":0.9998718}\n", "{\"p\":0.99987185}\n"),
        ("date: today\nok  0.129 \n", "date: tomorrow\nok 3.5\n"),
    ] {
        assert_eq!(differences(expected, printed), None);
    }
    for (expected, printed) in [
        ("a\n", "b\n"),
        ("a\nb\n", "a\n"),
        ("a\n", "a\nb\n"),
        ("{\"p\":0.9998}\n", "{\"p\":0.9988}\n"),
        ("marks 524288\n", "marks 589824\n"),
        ("…x\n", "xy\n"),
    ] {
        assert!(differences(expected, printed).is_some(), "{expected:?} and {printed:?}");
    }
}
