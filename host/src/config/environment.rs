//! Settings from environment variables: `PLIMSOLL_SERVER__MAX_QUEUE=16` is `max_queue` of `[server]`. They take precedence
//! over the file, and the command line takes precedence over them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::ConfigError;
use super::file::Config;

/// The start of the variables.
const PREFIX: &str = "PLIMSOLL_";
/// Separates the parts of a key.
const SEPARATOR: &str = "__";
/// The keys outside a table that have a variable. `PLIMSOLL_DATA_DIR` is an option of the command line.
const TOP: [&str; 2] = ["cache_dir", "plugin_dir"];

/// The settings of the environment, by variable.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// A setting of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name of the variable.
    pub name: String,
    /// The parts of the key.
    pub key: Vec<String>,
}

impl Environment {
    /// The settings in the environment of this process.
    pub fn of_process() -> Self {
        Self::from_variables(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// The settings among these variables.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_setting = |name: &str| {
            let name = name.strip_prefix(PREFIX)?;
            let is_top = TOP.iter().any(|key| key.eq_ignore_ascii_case(name));
            (is_top || name.contains(SEPARATOR)).then_some(())
        };
        Self(variables.into_iter().filter(|(name, _)| is_setting(name).is_some()).collect())
    }

    /// Returns true if no setting is in the environment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the settings to the tables of a file. Returns which keys they set.
    ///
    /// # Errors
    /// Names the first variable that is not the name of a key.
    pub fn add_to(&self, tables: &mut Table) -> Result<Vec<Variable>, String> {
        self.0.iter().map(|(name, value)| add(name, value, tables)).collect()
    }

    /// Reads a file with these settings.
    ///
    /// # Errors
    /// If the file, or the file with these settings, is not valid.
    pub(super) fn read(&self, text: &str, path: &Path) -> Result<Config, ConfigError> {
        if self.is_empty() {
            return toml::from_str(text).map_err(|error| ConfigError::new(path, "", error));
        }
        let failed = |reason: String| ConfigError::new(path, "", reason);
        let tables: Table = toml::from_str(text).map_err(|error| failed(error.to_string()))?;
        let with = |variables: &Self| {
            let mut tables = tables.clone();
            variables.add_to(&mut tables)?;
            Config::deserialize(tables).map_err(|error| error.to_string().trim().to_owned())
        };
        with(self).map_err(|error| {
            // A mistake of the file is reported with its line.
            if let Err(error) = toml::from_str::<Config>(text) {
                return failed(error.to_string());
            }
            let alone = self.0.iter().find_map(|(name, value)| {
                let error = with(&Self([(name.clone(), value.clone())].into())).err()?;
                Some(format!("the environment variable {name}: {error}"))
            });
            let all = || {
                format!("the environment variables {}: {error}", self.0.keys().cloned().collect::<Vec<_>>().join(", "))
            };
            failed(alone.unwrap_or_else(all))
        })
    }
}

fn add(name: &str, value: &str, tables: &mut Table) -> Result<Variable, String> {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let parts: Vec<&str> = rest.split(SEPARATOR).collect();
    let Some((last, before)) = parts.split_last().filter(|_| parts.iter().all(|part| !part.is_empty())) else {
        return Err(format!(
            "the environment variable {name} is not the name of a key; write PLIMSOLL_TABLE__KEY, for example \
             PLIMSOLL_SERVER__LISTEN"
        ));
    };
    let mut key = Vec::new();
    let mut table = tables;
    for part in before {
        let part = find(part, table).map_err(|both| ambiguous(name, &both))?;
        let inner = table.entry(part.clone()).or_insert_with(|| Value::Table(Table::new()));
        key.push(part);
        table = inner.as_table_mut().ok_or_else(|| {
            format!("the environment variable {name} sets a key inside `{}`, which is not a table here", key.join("."))
        })?;
    }
    let last = find(last, table).map_err(|both| ambiguous(name, &both))?;
    table.insert(last.clone(), parse(value));
    key.push(last);
    Ok(Variable { name: name.to_owned(), key })
}

fn ambiguous(name: &str, both: &[String]) -> String {
    format!("the environment variable {name} may mean {}; rename one of them", both.join(" or "))
}

/// The key that a part of a variable's name means. A variable has no small letters and no `-`, but the name of a pipeline
/// may have: then the file has the name.
fn find(part: &str, table: &Table) -> Result<String, Vec<String>> {
    let written = |key: &str| key.replace(['-', '.'], "_").to_ascii_lowercase();
    let part = part.to_ascii_lowercase();
    let known: Vec<String> = table.keys().filter(|key| written(key) == part).cloned().collect();
    match known.as_slice() {
        [] => Ok(part),
        [key] => Ok(key.clone()),
        _ => Err(known),
    }
}

/// The value: as in TOML if it is a number, `true`, a list, a table or a text in quotes; else the text itself.
fn parse(value: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {value}")).ok().filter(|table| table.len() == 1);
    let parsed = parsed.and_then(|mut table| table.remove("value")).filter(|value| !value.is_datetime());
    parsed.unwrap_or_else(|| Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: &str, variables: &[(&str, &str)]) -> Result<Table, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut tables: Table = toml::from_str(file).expect("TOML");
        Environment::from_variables(variables).add_to(&mut tables)?;
        Ok(tables)
    }

    #[test]
    fn a_variable_sets_the_key_that_it_names() {
        let file = "[pipelines.my-digits]\nmodel = \"a\"\n[server]\nmax_queue = 1\n";
        let variables = [
            ("PLIMSOLL_SERVER__MAX_QUEUE", "16"),
            ("PLIMSOLL_SERVER__LISTEN", "0.0.0.0:80"),
            ("PLIMSOLL_SERVER__MAX_BODY", "1MiB"),
            ("PLIMSOLL_SERVER__FAIR_SCHEDULING", "false"),
            ("PLIMSOLL_PIPELINES__MY_DIGITS__DEFAULT_CHIP", "wasm"),
            ("PLIMSOLL_CACHE_DIR", "/cache"),
            ("PLIMSOLL_MEMORY__CALLER_HEADER", "2026-01-01"),
            // These are not settings of the file.
            ("PLIMSOLL_LISTEN", "x"),
            ("PLIMSOLL_ADMIN_TOKEN", "x"),
            ("PLIMSOLL_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("OTHER_SERVER__LISTEN", "x"),
        ];
        let wanted = "cache_dir = \"/cache\"\n[memory]\ncaller_header = \"2026-01-01\"\n[server]\nmax_queue = 16\n\
            listen = \"0.0.0.0:80\"\nmax_body = \"1MiB\"\nfair_scheduling = false\n\
            [pipelines.my-digits]\nmodel = \"a\"\ndefault_chip = \"wasm\"\n";
        assert_eq!(with(file, &variables).expect("valid"), toml::from_str(wanted).expect("TOML"));
    }

    #[test]
    fn what_is_not_the_name_of_one_key_is_an_error() {
        for name in ["PLIMSOLL___LISTEN", "PLIMSOLL_SERVER__", "PLIMSOLL_SERVER____LISTEN"] {
            let error = with("", &[(name, "1")]).expect_err("not a name");
            assert!(error.contains(name) && error.contains("PLIMSOLL_TABLE__KEY"), "{error}");
        }
        let both = "[pipelines.a-b]\n[pipelines.a_b]\n";
        let error = with(both, &[("PLIMSOLL_PIPELINES__A_B__MODEL", "m")]).expect_err("two");
        assert!(error.contains("a-b or a_b"), "{error}");
        let error = with("plugins = [\"oci://a/b:1\"]", &[("PLIMSOLL_PLUGINS__B__FILE", "f")]).expect_err("a list");
        assert!(error.contains("`plugins`, which is not a table"), "{error}");
    }

    #[test]
    fn a_value_is_one_value() {
        for (text, wanted) in [
            ("1\nother = 2", Value::String("1\nother = 2".to_owned())),
            ("[\"a:1\", \"b:2\"]", Value::Array(vec!["a:1".into(), "b:2".into()])),
            ("\"16\"", "16".into()),
            ("", "".into()),
            ("a # b", "a # b".into()),
        ] {
            assert_eq!(parse(text), wanted, "{text:?}");
        }
    }
}
