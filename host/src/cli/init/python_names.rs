//! The names of classes as Python writes them, which is how Ultralytics' exporters store them.

/// Parses a dictionary with the classes 0, 1, 2 …, `{0: 'person', 1: "bird's nest"}`, or a list, `['person', 'car']`.
pub(in crate::cli) fn parse_names(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let (is_list, mut rest) = match text.strip_prefix('[') {
        Some(rest) => (true, rest.strip_suffix(']')?.trim()),
        None => (false, text.strip_prefix('{')?.strip_suffix('}')?.trim()),
    };
    let mut names = Vec::new();
    while !rest.is_empty() {
        if !is_list {
            let (index, after) = rest.split_once(':')?;
            if index.trim().parse() != Ok(names.len()) {
                return None;
            }
            rest = after.trim_start();
        }
        let quote = rest.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
        let mut name = String::new();
        let mut characters = rest[1..].char_indices();
        let end = loop {
            match characters.next()? {
                (at, character) if character == quote => break at + 2,
                (_, '\\') => {
                    name.push(characters.next().map(|(_, next)| next).filter(|next| ['\\', '\'', '"'].contains(next))?)
                }
                (_, '\n' | '\r') => return None,
                (_, character) => name.push(character),
            }
        };
        names.push(name);
        rest = rest[end..].trim_start();
        // Python joins adjacent texts, so a comma must be between two names.
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::parse_names;

    #[test]
    fn names_are_read_as_python_writes_them() {
        let names = |text| parse_names(text).map(|names| names.join("|"));
        assert_eq!(names("{0: 'person', 1: \"bird's nest\"}").as_deref(), Some("person|bird's nest"));
        assert_eq!(names(r"{0: 'a\'b', 1: 'c: d, e'}").as_deref(), Some("a'b|c: d, e"));
        assert_eq!(names("['person', \"bird's nest\", ]").as_deref(), Some("person|bird's nest"));
        for text in
            ["", "{}", "[]", "{1: 'a'}", "{0: 'a', 2: 'b'}", "{0: 'a", "{0: a}", r"{0: '\x41'}", "['a' 'b']", "['a'"]
        {
            assert_eq!(names(text), None, "{text}");
        }
    }
}
