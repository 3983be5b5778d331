//! `plimsoll config`: the effective configuration, and its JSON Schema.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::Error;
use crate::cli::output::out;
use crate::cli::source::ConfigSource;
use crate::config;
use crate::config::ListenAddress;
use crate::config::effective::EffectiveSetting;

/// Variables with secrets that are not settings of the file.
const SECRETS: [&str; 3] = ["PLIMSOLL_ADMIN_TOKEN", "PLIMSOLL_OCI_USERNAME", "PLIMSOLL_OCI_PASSWORD"];

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Config {
    /// Print every setting that a server would use, with its source: default, file, environment or command line.
    ///
    /// Secrets are masked: settings of plugins and devices whose names say so, and passwords in addresses. The limits of
    /// a stage that the file does not set come from its plugin; `plimsoll check` prints them.
    Show {
        #[command(flatten)]
        source: ConfigSource,
        /// As for `plimsoll serve`.
        #[arg(long, value_name = "ADDR", env = "PLIMSOLL_LISTEN", value_delimiter = ',')]
        listen: Vec<ListenAddress>,
    },
    /// Print the JSON Schema of `plimsoll.toml`, for editors.
    Schema,
}

impl Config {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        match self {
            Self::Show { source, listen } => show(&source, listen)?,
            Self::Schema => out!("{:#}", config::Config::schema()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(source: &ConfigSource, listen: Vec<ListenAddress>) -> Result<(), Error> {
    let config = source.load_with(listen)?;
    let settings = config.effective(source.file())?;
    out!("# {}", config.path.display());
    let lines: Vec<_> = settings.iter().map(|setting| (line(setting), &setting.source)).collect();
    // A long value does not push the sources of all others to the right.
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    for (line, source) in &lines {
        out!("{line:<width$}  # {source}");
    }
    for name in SECRETS.into_iter().filter(|name| std::env::var_os(name).is_some()) {
        out!("# {name} is set");
    }
    Ok(())
}

/// The setting as a line of TOML.
fn line(setting: &EffectiveSetting) -> String {
    let is_bare = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let part = |part: &String| match Some(part.as_str()).filter(is_bare) {
        Some(part) => part.to_owned(),
        None => toml::Value::from(part.as_str()).to_string(),
    };
    let key = setting.key.iter().map(part).collect::<Vec<_>>().join(".");
    format!("{key} = {}", setting.value)
}
