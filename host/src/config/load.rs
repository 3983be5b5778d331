//! Reads and checks `plimsoll.toml`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use plimsoll_runtime::nn::Device;
use plimsoll_runtime::nn::device::UnknownDevice;

use super::environment::Environment;
use super::error::ConfigError;
use super::file::{Config, DEMO};
use super::shown::SettingsInForce;
use crate::base::files::{read_regular, stat};

/// The most bytes that the configuration may have.
const MAX_CONFIG: u64 = 16 << 20;

/// The text of a file, or of the bundled demo if `path` is `None`.
pub(super) fn read_text(path: Option<&Path>) -> Result<String, ConfigError> {
    let Some(path) = path else { return Ok(DEMO.to_owned()) };
    let unreadable = |error: io::Error| ConfigError::new(path, "", format!("cannot be read: {error}"));
    let bytes = read_regular(path, MAX_CONFIG).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| unreadable(io::Error::other("it is not UTF-8 text")))
}

impl Config {
    /// Reads a file, or the bundled demo if `path` is `None`, and the settings of the environment.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or a setting is not valid. The error has the line or key.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let seen = path.and_then(stat);
        let text = read_text(path)?;
        let path = path.unwrap_or(Path::new("(bundled demo)"));
        let environment = Environment::of_process();
        environment.warn();
        Ok(Self { seen, ..Self::parse_with(&text, path, &environment)? })
    }

    /// Parses the text of a file; `path` is for messages and relative paths.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, &Environment::default())
    }

    /// As [`Config::parse`], with settings of the environment.
    fn parse_with(text: &str, path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let mut config = environment.read(text, path)?;
        config.path = path.to_owned();
        let mut tables = text.parse().unwrap_or_default();
        // A configuration whose variables are not valid is not in force.
        let _ = environment.add_to(&mut tables);
        config.in_force = SettingsInForce::new(tables);
        config.server.listen = config.server.listen.resolved(|path| config.resolve(path));
        config.server.grpc_listen =
            config.server.grpc_listen.as_ref().map(|listen| listen.resolved(|path| config.resolve(path)));
        config.admin.listen = config.admin.listen.as_ref().map(|listen| listen.resolved(|path| config.resolve(path)));
        if config.pipelines.is_empty() {
            return Err(ConfigError::new(path, "pipelines", "there is no pipeline; declare one as `[pipelines.NAME]`"));
        }
        config.check_numbers()?;
        config.find_targets()?;
        Ok(config)
    }

    /// Finds the device that each model names as its target.
    fn find_targets(&mut self) -> Result<(), ConfigError> {
        let folder = self.resolve(Path::new(""));
        for (name, model) in &mut self.models {
            let Some(target) = &model.target else { continue };
            model.device = match self.chips.get(target) {
                Some(chip) => Device::Chip(Arc::new(chip.chip(target, &folder))),
                None => target.parse().map_err(|error: UnknownDevice| {
                    let chips: Vec<_> = self.chips.keys().map(String::as_str).collect();
                    let known = if chips.is_empty() { "none".to_owned() } else { chips.join(", ") };
                    ConfigError::new(&self.path, format!("models.{name}.target"), format!("{error} (there: {known})"))
                })?,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_in_force_have_those_of_the_environment() {
        let variable = ("PLIMSOLL_SERVER__MAX_QUEUE".to_owned(), "77".to_owned());
        let environment = Environment::from_variables([variable]);
        let config = Config::parse_with(DEMO, Path::new("plimsoll.toml"), &environment).expect("valid");
        assert!(config.in_force.masked().contains("max_queue = 77"), "{}", config.in_force.masked());
    }
}
