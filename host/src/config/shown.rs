//! The configuration in force as its readers may see it: with the settings of the environment, without secrets.

use std::fmt;

use toml::{Table, Value};

use super::secrets::masked;

/// The tables of the file that was read, with the settings of the environment.
#[derive(Clone, Default)]
pub struct SettingsInForce(Table);

/// The tables may have secrets, so they are never part of a message.
impl fmt::Debug for SettingsInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingsInForce")
    }
}

impl SettingsInForce {
    /// Keeps the tables of a file, with the settings of the environment.
    pub(super) fn new(tables: Table) -> Self {
        Self(tables)
    }

    /// The settings as TOML, without comments and without secrets.
    pub fn masked(&self) -> String {
        toml::to_string_pretty(&masked(&[], &Value::Table(self.0.clone()))).unwrap_or_default()
    }
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
            [server]
            max_queue = 3
            [pipelines.p.preprocess]
            plugin = "fetch"
            max_memory = "32MiB"
            config = { api_key = "hunter2", url = "https://me:hunter2@example/x", nested = [{ DbPassword = "hunter2" }], tokens = ["hunter2"], pin_secret = 12345, mail = "a@b" }
        "#;
        let settings = SettingsInForce::new(text.parse().expect("TOML"));
        let shown = settings.masked();
        assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
        for kept in ["token.txt", "fetch", "32MiB", "a@b", "***", "max_queue = 3"] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
