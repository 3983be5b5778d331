//! Settings from environment variables: `PLIMSOLL_SERVER__MAX_QUEUE=16` is `max_queue` of `[server]`. They take precedence
//! over the file, and the command line takes precedence over them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::ConfigError;
use super::file::{Config, DEMO};

/// The start of the variables.
const PREFIX: &str = "PLIMSOLL_";
/// Separates the parts of a key.
const SEPARATOR: &str = "__";
/// The keys outside a table that have a variable. `PLIMSOLL_DATA_DIR` is an option of the command line.
const TOP: [&str; 2] = ["cache_dir", "plugin_dir"];

/// The tables in which a variable with one underscore too few is noticed.
const TABLES: [&str; 7] = ["server", "deploy", "admin", "auth", "tls", "telemetry", "memory"];

/// The settings of the environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The values by variable.
    settings: BTreeMap<String, String>,
    /// Variables whose values are not UTF-8.
    unreadable: Vec<String>,
    /// Variables that are no settings, because they have one underscore where two are needed.
    misspelt: Vec<String>,
}

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
        Self::from_os(std::env::vars_os())
    }

    /// The settings among these variables.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::from_os(variables.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn from_os(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut this = Self::default();
        for (name, value) in variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value))) {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            if !TOP.iter().any(|top| top.eq_ignore_ascii_case(key)) && !key.contains(SEPARATOR) {
                if corrected(key).is_some() {
                    this.misspelt.push(name);
                }
                continue;
            }
            match value.into_string() {
                Ok(value) => drop(this.settings.insert(name, value)),
                Err(_) => this.unreadable.push(name),
            }
        }
        this
    }

    /// Warns of variables that look like settings and are none.
    pub fn warn(&self) {
        for name in &self.misspelt {
            let meant = name.strip_prefix(PREFIX).and_then(corrected).unwrap_or_default();
            tracing::warn!("the environment variable {name} is not used; {meant} (two underscores) sets that key");
        }
    }

    /// Returns true if no setting is in the environment.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.unreadable.is_empty()
    }

    /// Adds the settings to the tables of a file. Returns which keys they set.
    ///
    /// # Errors
    /// Names the first variable that is not the name of a key, is not UTF-8, or sets the key of another one.
    pub fn add_to(&self, tables: &mut Table) -> Result<Vec<Variable>, String> {
        if let Some(name) = self.unreadable.first() {
            return Err(format!("the environment variable {name} is not UTF-8 text"));
        }
        let mut variables: Vec<Variable> = Vec::new();
        for (name, value) in &self.settings {
            let variable = add(name, value, tables)?;
            if let Some(other) = variables.iter().find(|other| other.key == variable.key) {
                let key = variable.key.join(".");
                return Err(format!(
                    "the environment variables {} and {name} set the same key `{key}`; remove one of them",
                    other.name
                ));
            }
            variables.push(variable);
        }
        Ok(variables)
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
            let alone = self.settings.iter().find_map(|(name, value)| {
                let settings = [(name.clone(), value.clone())].into();
                let error = with(&Self { settings, ..Self::default() }).err()?;
                Some(explained(name, value, &error))
            });
            let names = || self.settings.keys().cloned().collect::<Vec<_>>().join(", ");
            let all = || match error.starts_with(MISTAKE) {
                true => error.clone(),
                false => format!("the environment variables {}: {error}", names()),
            };
            failed(alone.unwrap_or_else(all))
        })
    }
}

/// How the messages about a variable begin.
const MISTAKE: &str = "the environment variable";

/// The message for a variable whose value is not valid. The value itself is not in it: it may be a secret in the wrong
/// variable.
fn explained(name: &str, value: &str, error: &str) -> String {
    if error.starts_with(MISTAKE) {
        return error.to_owned();
    }
    let error = error.replace(&format!("string {value:?}"), "a text");
    let hint = match error.contains("expected a string") || error.contains("expected path string") {
        true => format!("; a text that looks like a number needs quotes: {name}='\"…\"'"),
        false => String::new(),
    };
    format!("{MISTAKE} {name}: {error}{hint}")
}

/// The variable of the key that a name with one underscore after the table means; `None` if there is no such key.
fn corrected(rest: &str) -> Option<String> {
    let small = rest.to_ascii_lowercase();
    let (table, key) = TABLES.iter().find_map(|table| Some((*table, small.strip_prefix(table)?.strip_prefix('_')?)))?;
    let mut tables: Table = DEMO.parse().ok()?;
    let inner = tables.entry(table).or_insert_with(|| Value::Table(Table::new())).as_table_mut()?;
    inner.insert(key.to_owned(), Value::Boolean(true));
    let is_key =
        Config::deserialize(tables).map_or_else(|error| !error.to_string().contains("unknown field"), |_| true);
    is_key.then(|| format!("{PREFIX}{}{SEPARATOR}{}", table.to_ascii_uppercase(), key.to_ascii_uppercase()))
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
mod tests;
