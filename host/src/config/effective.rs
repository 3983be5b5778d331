//! The effective settings, each with its source, for `plimsoll config show`.

use std::fmt;
use std::path::Path;

use plimsoll_runtime::nn::HangRule;
use toml::{Table, Value};

use super::environment::{Environment, Variable};
use super::error::ConfigError;
use super::file::Config;
use super::load::read_text;
use super::secrets::masked;
use crate::base::defaults;

/// A setting that a server would use.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveSetting {
    /// The parts of the key.
    pub key: Vec<String>,
    /// The value. Secrets are masked.
    pub value: Value,
    /// Where it comes from.
    pub source: SettingSource,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingSource {
    /// The host's default.
    Default,
    /// The file.
    File,
    /// An environment variable.
    Environment(String),
    /// An option of the command line, or the variable that stands for it.
    CommandLine,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

impl Config {
    /// The settings that a server would use with this configuration, each with its source.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn effective(&self, path: Option<&Path>) -> Result<Vec<EffectiveSetting>, ConfigError> {
        let failed = |reason: String| ConfigError::new(&self.path, "", reason);
        let file: Table = toml::from_str(&read_text(path)?).map_err(|error| failed(error.to_string()))?;
        let variables = Environment::of_process().add_to(&mut file.clone()).map_err(failed)?;
        let shown = self.with_defaults();
        let tables = Table::try_from(&shown).map_err(|error| failed(error.to_string()))?;
        let mut settings = Vec::new();
        flatten(&mut Vec::new(), &Value::Table(tables), &mut |key, value| {
            let source = self.source(key, &file, &variables);
            settings.push(EffectiveSetting { key: key.to_vec(), value: masked(key, value), source });
        });
        Ok(settings)
    }

    /// The configuration, with the defaults that follow from the configuration alone. The defaults of stages depend on the
    /// manifests of their plugins, too, and are not filled in.
    fn with_defaults(&self) -> Self {
        let mut config = self.clone();
        config.plugin_dir = Some(self.plugin_dir());
        config.data_dir = Some(self.data_dir());
        config.cache_dir = Some(self.cache_dir());
        for pipeline in config.pipelines.values_mut() {
            pipeline.deadline.get_or_insert(defaults::REQUEST_DEADLINE);
        }
        for model in config.models.values_mut() {
            let (health, batches) = (model.health_rules(), model.batch_rules());
            model.device_failures = Some(health.failures);
            model.device_retry = Some(health.retry);
            if let HangRule::AtLeast(time) = health.hang {
                model.hang_after = Some(time);
            }
            model.load_deadline = model.load_deadline.or_else(|| model.load_deadline());
            model.max_delay = batches.map(|batches| batches.max_delay);
        }
        config
    }

    fn source(&self, key: &[String], file: &Table, variables: &[Variable]) -> SettingSource {
        let is = |parts: &[&str]| key.iter().map(String::as_str).eq(parts.iter().copied());
        let overrides = &self.overrides;
        let is_argument = (is(&["server", "listen"]) && overrides.listen.is_some())
            || (is(&["plugin_dir"]) && overrides.plugins.is_some())
            || (is(&["data_dir"]) && overrides.data_dir.is_some());
        if is_argument {
            return SettingSource::CommandLine;
        }
        if let Some(variable) = variables.iter().find(|variable| key.starts_with(&variable.key)) {
            return SettingSource::Environment(variable.name.clone());
        }
        match is_stated(key, file) {
            true => SettingSource::File,
            false => SettingSource::Default,
        }
    }
}

/// Returns true if the file has the key, or a value instead of a table: `canary = "5%"` states `canary.share`.
fn is_stated(key: &[String], file: &Table) -> bool {
    let Some((first, rest)) = key.split_first() else { return true };
    match file.get(first) {
        None => false,
        Some(Value::Table(table)) => is_stated(rest, table),
        Some(_) => true,
    }
}

/// Calls `each` for every value that is not a table with content.
fn flatten(key: &mut Vec<String>, value: &Value, each: &mut impl FnMut(&[String], &Value)) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                key.push(name.clone());
                flatten(key, value, each);
                key.pop();
            }
        }
        Value::Table(_) => {}
        value => each(key, value),
    }
}
