//! The command line. Exit codes: 0, 1 for a failure at work (of `leak`: it leaks), 2 for wrong arguments (of `leak`: no
//! answer), 64 for a configuration that cannot be served.

mod check;
mod infer;
mod inspect;
mod leak;
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

/// As clap's for wrong arguments: `plimsoll leak` has no answer.
const EX_UNTOLD: u8 = 2;

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
    /// Look for leaks in a plugin: run a corpus through one long-lived instance of it and name what survives.
    ///
    /// Exit code 0 when it does not leak, 1 when it does, 2 when nothing can be said.
    Leak(Box<leak::Leak>),
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
    /// Nothing can be said of a leak: neither that there is one (1) nor that there is none (0).
    #[error("{0}")]
    Untold(String),
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
        let done = |()| ExitCode::SUCCESS;
        match cli.command.unwrap_or_else(|| Command::Serve(serve::Serve::default())) {
            Command::Serve(command) => command.run().await.map(done),
            Command::Infer(command) => command.run().await.map(done),
            Command::Inspect(command) => command.run().map(done),
            Command::Leak(command) => command.run().await.map(|leaks| ExitCode::from(u8::from(leaks))),
            Command::Plugin(command) => command.run().await.map(done),
            Command::Check(command) => command.run().await.map(done),
            Command::Top(command) => command.run().await.map(done),
            Command::Replay(command) => command.run().await.map(done),
        }
    });
    // Requests that are cut off still get their line in the log. A backend's run cannot be stopped, and must not
    // keep the process from ending for longer.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn report(error: &Error) -> ExitCode {
    eprintln!("plimsoll: {error}");
    match error {
        Error::Config(_) => ExitCode::from(EX_USAGE),
        Error::Failed(_) => ExitCode::FAILURE,
        Error::Untold(_) => ExitCode::from(EX_UNTOLD),
    }
}
