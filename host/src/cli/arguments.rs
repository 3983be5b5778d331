//! The arguments of the program.

use clap::{CommandFactory, Parser};

use super::commands::Command;
use crate::base::telemetry::LogFormat;

/// A WebAssembly-plugin inference host: a fresh, capped instance of every stage for every request.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = false)]
pub(super) struct Cli {
    /// The format of log lines on stderr; RUST_LOG filters them.
    #[arg(long, global = true, value_enum, default_value_t, env = "PLIMSOLL_LOG")]
    pub(super) log: LogFormat,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// The description of all arguments.
pub(super) fn description() -> clap::Command {
    Cli::command()
}
