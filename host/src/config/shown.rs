//! The configuration as its readers may see it: secrets are replaced.

use std::fmt;
use std::sync::Arc;

use toml::{Table, Value};

/// What a secret is replaced by.
const MASK: &str = "***";

/// Parts of names whose values are secrets. The host's own keys name files of secrets, and no secrets; but the settings of
/// stages and the options of devices have any names.
const SECRET: [&str; 7] = ["password", "passwd", "secret", "token", "credential", "apikey", "privatekey"];

/// The text of the file that was read.
#[derive(Clone, Default)]
pub struct SourceText(Arc<str>);

/// The text may have secrets, so it is never part of a message.
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceText")
    }
}

impl SourceText {
    /// Keeps a text.
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The configuration without its comments and its secrets.
    pub fn masked(&self) -> String {
        let Ok(mut table) = self.0.parse::<Table>() else { return String::new() };
        table.iter_mut().for_each(|(name, value)| mask(name, value));
        toml::to_string_pretty(&table).unwrap_or_default()
    }
}

fn mask(name: &str, value: &mut Value) {
    match value {
        Value::Table(table) => table.iter_mut().for_each(|(name, value)| mask(name, value)),
        Value::Array(values) => values.iter_mut().for_each(|value| mask(name, value)),
        Value::String(text) if has_user(text) => MASK.clone_into(text),
        value if is_secret(name) => *value = Value::String(MASK.to_owned()),
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>().to_lowercase();
    !plain.ends_with("file") && SECRET.iter().any(|secret| plain.contains(secret))
}

/// Returns true for an address with the name or the password of a user: `https://user:password@host`.
fn has_user(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_are() {
        let text = r#"
            # a comment with hunter2
            [admin]
            token_file = "token.txt"
            [pipelines.p.preprocess]
            plugin = "fetch"
            max_memory = "32MiB"
            config = { api_key = "hunter2", url = "https://me:hunter2@example/x", nested = [{ DbPassword = "hunter2" }], tokens = ["hunter2"], pin_secret = 12345, mail = "a@b" }
        "#;
        let shown = SourceText::new(text).masked();
        assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
        for kept in ["token.txt", "fetch", "32MiB", "a@b", "***"] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
        let text = SourceText::new("password = 'hunter2'");
        assert!(!format!("{text:?}").contains("hunter2"));
    }
}
