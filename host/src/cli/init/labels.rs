//! The names of classes: from a file, or from the metadata that Ultralytics' exporter writes.

use std::path::Path;

use plimsoll_runtime::nn::Description;

use crate::cli::error::Error;

/// The names of classes, one per class.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Labels {
    /// The names, in the order of the classes.
    pub(in crate::cli) names: Vec<String>,
    /// Where they come from.
    pub(in crate::cli) source: String,
}

impl Labels {
    /// Reads the file of `--labels`, or the model's metadata. Returns `None` if neither has names.
    pub(in crate::cli) fn find(file: Option<&Path>, model: &Description) -> Result<Option<Self>, Error> {
        let Some(file) = file else {
            let names = model.metadata.get("names").and_then(|text| parse_names(text));
            return Ok(names.map(|names| Self { names, source: "the model's metadata `names`".into() }));
        };
        let failed = |what: String| Error::Failed(format!("{} {what}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| failed(format!("cannot be read: {error}")))?;
        let names: Vec<_> = text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect();
        if names.is_empty() {
            return Err(failed("is empty: write one label per line, in the order of the classes".into()));
        }
        Ok(Some(Self { names, source: file.display().to_string() }))
    }
}

/// Parses a dictionary of Python with the classes 0, 1, 2 …: `{0: 'person', 1: "bird's nest"}`.
fn parse_names(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (index, after) = rest.split_once(':')?;
        if index.trim().parse() != Ok(names.len()) {
            return None;
        }
        let after = after.trim_start();
        let quote = after.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
        let mut name = String::new();
        let mut characters = after[1..].char_indices();
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
        rest = after[end..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
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
        for text in ["", "{}", "{1: 'a'}", "{0: 'a', 2: 'b'}", "{0: 'a", "{0: a}", r"{0: '\x41'}"] {
            assert_eq!(names(text), None, "{text}");
        }
    }
}
