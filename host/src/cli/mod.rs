//! The command line. Exit codes: 0, 1 for a failure at work, 2 for wrong arguments (clap), 64 for a configuration
//! that cannot be served.

mod check;
mod infer;
mod inspect;
mod plugin;
mod replay;
mod serve;
mod table;
mod top;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::telemetry::{self, LogFormat};

/// `EX_USAGE` of sysexits.h: the configuration cannot be served.
const EX_USAGE: u8 = 64;

/// A WebAssembly-plugin inference host: a fresh, capped instance of every stage for every request.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = false)]
struct Cli {
    /// The form of log lines on stderr; RUST_LOG filters them.
    #[arg(long, global = true, value_enum, default_value_t, env = "PLIMSOLL_LOG")]
    log: LogFormat,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the pipelines over HTTP (the default; without a file the bundled demo `digits`).
    Serve(serve::Serve),
    /// Run one request without a server; print the reply and a table of the memory it needed.
    Infer(infer::Infer),
    /// Show what a component is: its kind, imports, exports and size.
    Inspect(inspect::Inspect),
    /// Make, deploy and roll back plugins.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Build everything the configuration names, and say whether it can be served.
    Check(check::Check),
    /// Show the memory report of a running server, live.
    Top(top::Top),
    /// Run recorded inputs again, by the same or another version of a plugin.
    Replay(replay::Replay),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
struct Source {
    /// The configuration file; without it the bundled demo is served.
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of plugins; overrides the file's `plugin_dir`.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl Source {
    fn load(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(folder) = &self.plugins {
            // Given on the command line, so relative to where the command runs.
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            config.overrides.plugins = Some(folder.clone());
            config.plugin_dir = Some(folder);
        }
        Ok(config)
    }
}

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Failed(String),
}

/// Parses the arguments, runs the command, and gives its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::Failed(format!("the runtime does not start: {error}"))),
    };
    let result = runtime.block_on(async {
        match cli.command.unwrap_or_else(|| Command::Serve(serve::Serve::default())) {
            Command::Serve(command) => command.run().await,
            Command::Infer(command) => command.run().await,
            Command::Inspect(command) => command.run(),
            Command::Plugin(command) => command.run().await,
            Command::Check(command) => command.run().await,
            Command::Top(command) => command.run().await,
            Command::Replay(command) => command.run().await,
        }
    });
    // Requests that are cut off still get their line in the log. A backend's run cannot be stopped, and must not
    // keep the process from ending for longer.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &Error) -> ExitCode {
    eprintln!("plimsoll: {error}");
    match error {
        Error::Config(_) => ExitCode::from(EX_USAGE),
        Error::Failed(_) => ExitCode::FAILURE,
    }
}
