//! The names of classes: from a file, or from the metadata that exporters write.

use std::path::Path;

use plimsoll_runtime::nn::Description;
use serde_json::Value;

use super::python_names::parse_names;
use crate::cli::error::Error;

/// The keys of metadata that have names of classes: those of Ultralytics, and of transformers.
const KEYS: [&str; 2] = ["names", "id2label"];

/// The names of classes, one per class.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Labels {
    /// The names, in the order of the classes.
    pub(in crate::cli) names: Vec<String>,
    /// Where they come from.
    pub(in crate::cli) source: String,
}

/// What [`Labels::find`] found.
#[derive(Debug, Default)]
pub(in crate::cli) struct FoundLabels {
    /// The names; `None` if there are none.
    pub(in crate::cli) labels: Option<Labels>,
    /// Why the names in the metadata cannot be read, if that is so.
    pub(in crate::cli) unread: Option<String>,
}

impl Labels {
    /// Reads the file of `--labels`, or the model's metadata.
    pub(in crate::cli) fn find(file: Option<&Path>, model: &Description) -> Result<FoundLabels, Error> {
        match file {
            Some(file) => Ok(FoundLabels { labels: Some(Self::read(file)?), unread: None }),
            None => Ok(Self::of_metadata(model)),
        }
    }

    fn of_metadata(model: &Description) -> FoundLabels {
        let Some((key, text)) = KEYS.iter().find_map(|key| Some((key, model.metadata.get(*key)?))) else {
            return FoundLabels::default();
        };
        let names = serde_json::from_str(text).map_or_else(|_| parse_names(text), |json| json_names(&json));
        match names {
            Some(names) => {
                let source = format!("the model's metadata `{key}`");
                FoundLabels { labels: Some(Self { names, source }), unread: None }
            }
            None => {
                let why = format!("`{key}` is not a list of names, and not one name for each of the numbers 0, 1, 2 …");
                FoundLabels { labels: None, unread: Some(why) }
            }
        }
    }

    /// Reads a file with one label per line, or a JSON file such as the `config.json` of transformers.
    fn read(file: &Path) -> Result<Self, Error> {
        let failed = |what: &str| Error::Failed(format!("{} {what}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| failed(&format!("cannot be read: {error}")))?;
        // As the plugins read a file of labels.
        let text = text.trim_start_matches('\u{feff}').trim_end();
        if text.is_empty() {
            return Err(failed("is empty: write one label per line, in the order of the classes"));
        }
        let names = match serde_json::from_str::<Value>(text) {
            Ok(json @ (Value::Object(_) | Value::Array(_))) => json_names(&json).ok_or_else(|| {
                failed(
                    "is JSON without labels: it needs `id2label`, a list of names, or one name for each of the numbers \
                     0, 1, 2 …; or write one label per line",
                )
            })?,
            _ => text.lines().map(|line| line.trim().to_owned()).collect(),
        };
        Ok(Self { names, source: file.display().to_string() })
    }
}

/// The names in JSON: a list, `{"0": "a", "1": "b"}`, `{"0": ["n01440764", "tench"]}` as Keras' index of ImageNet, or one of
/// these as `id2label`.
fn json_names(json: &Value) -> Option<Vec<String>> {
    let name = |value: &Value| {
        let name = match value {
            Value::Array(parts) => parts.last()?.as_str()?,
            value => value.as_str()?,
        };
        // A file of labels has one label for each line.
        (!name.contains(['\n', '\r'])).then(|| name.to_owned())
    };
    let names: Vec<_> = match json {
        Value::Array(names) => {
            names.iter().map(|value| value.as_str().and_then(|_| name(value))).collect::<Option<_>>()?
        }
        Value::Object(table) => match table.get("id2label") {
            Some(table) => return json_names(table),
            None => (0..table.len()).map(|at| name(table.get(&at.to_string())?)).collect::<Option<_>>()?,
        },
        _ => return None,
    };
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_json() {
        let names = |text: &str| json_names(&serde_json::from_str(text).expect("JSON")).map(|names| names.join("|"));
        assert_eq!(names(r#"["a", "b"]"#).as_deref(), Some("a|b"));
        // The order is that of the numbers.
        let many: String = (0..12).rev().map(|at| format!(r#""{at}": "c{at}","#)).collect();
        let many = format!("{{{}}}", many.trim_end_matches(','));
        assert_eq!(names(&many).as_deref(), Some("c0|c1|c2|c3|c4|c5|c6|c7|c8|c9|c10|c11"));
        let config = r#"{"architectures": ["ViT"], "id2label": {"1": "dog", "0": "cat"}, "label2id": {"cat": 0}}"#;
        assert_eq!(names(config).as_deref(), Some("cat|dog"));
        assert_eq!(names(r#"{"0": ["n01440764", "tench"]}"#).as_deref(), Some("tench"));
        for text in ["[]", "{}", r#"{"1": "a"}"#, r#"{"cat": 0}"#, "[1]", r#"["a\nb"]"#, r#"{"id2label": {"a": "b"}}"#]
        {
            assert_eq!(names(text), None, "{text}");
        }
    }
}
