//! The header `Content-Disposition` of a part of a form (RFC 6266, RFC 7578). multer also reads this header, but it
//! ignores `filename*` and finds `name=` inside quoted values.

/// What the header says about a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    /// The name of the field.
    pub(super) name: Option<String>,
    /// The name of the file, if the part is a file. It is not decoded if it is in the form of RFC 8187 (`filename*`).
    pub(super) file_name: Option<String>,
}

impl Disposition {
    /// Reads the parameters of the header. The names of parameters are case-insensitive.
    pub(super) fn parse(header: &str) -> Self {
        let mut found = Self::default();
        let mut rest = header.split_once(';').map_or("", |(_, parameters)| parameters);
        loop {
            // Only from the start: each letter is looked at a bounded number of times.
            rest = rest.trim_start();
            if rest.is_empty() {
                return found;
            }
            let end = rest.find(['=', ';']).unwrap_or(rest.len());
            let key = rest[..end].trim().to_ascii_lowercase();
            let value;
            (value, rest) = match rest[end..].strip_prefix('=') {
                Some(after) => read_value(after),
                None => (String::new(), rest[end..].strip_prefix(';').unwrap_or_default()),
            };
            let place = match key.as_str() {
                "name" => &mut found.name,
                "filename" | "filename*" => &mut found.file_name,
                _ => continue,
            };
            // The first value counts, except that `filename*` replaces an empty `filename`.
            if place.as_ref().is_none_or(String::is_empty) {
                *place = Some(value);
            }
        }
    }
}

/// Reads the value at the start of a text, and returns what follows its semicolon.
fn read_value(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim_end().to_owned(), rest);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let rest = &quoted[at + 1..];
                return (value, rest.split_once(';').map_or("", |(_, rest)| rest));
            }
            // Other backslashes stay, because some clients do not escape those of a Windows path.
            '\\' => match letters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push(letter),
            },
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_file_names_are_found_in_every_form() {
        for (header, name, file_name) in [
            ("form-data; name=\"a\"", Some("a"), None),
            ("form-data; name=a; filename=b.jpg", Some("a"), Some("b.jpg")),
            ("form-data; name=\"a\"; filename*=UTF-8''%e2%82%ac.jpg", Some("a"), Some("UTF-8''%e2%82%ac.jpg")),
            ("form-data; filename*=UTF-8''b; filename=\"c\"; name=\"a\"", Some("a"), Some("UTF-8''b")),
            ("form-data;NAME = \"a\" ;FileName=\"b;c\"", Some("a"), Some("b;c")),
            ("form-data; name=\"a\\\"b\\\\\"; x=\"filename=c\"", Some("a\"b\\"), None),
            ("form-data; name=\"a; filename=b\"", Some("a; filename=b"), None),
            ("form-data; filename=\"; name=b\"; name=a", Some("a"), Some("; name=b")),
            ("form-data; filename=\"C:\\dir\\x.jpg\"; name=a", Some("a"), Some("C:\\dir\\x.jpg")),
            ("form-data; filename; ; name", Some(""), Some("")),
            ("form-data; name=\"open", Some("open"), None),
            ("form-data", None, None),
        ] {
            let found = Disposition::parse(header);
            let expected = Disposition { name: name.map(Into::into), file_name: file_name.map(Into::into) };
            assert_eq!(found, expected, "{header}");
        }
    }

    #[test]
    fn the_time_is_linear_in_the_length() {
        // With a walk over all spaces for each semicolon, this takes minutes.
        let header = format!("form-data;{}{}", ";".repeat(500_000), "\u{a0}".repeat(500_000));
        assert_eq!(Disposition::parse(&header), Disposition::default());
        let header = format!("form-data{}; name=a", "; x=\"\"".repeat(200_000));
        assert_eq!(Disposition::parse(&header).name.as_deref(), Some("a"));
    }
}
