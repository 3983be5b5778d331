//! Parses the arguments and runs the command.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::arguments::Cli;
use super::commands::Command;
use super::error::Error;
use super::{output, signals};
use crate::base::{address_space, descriptors, panics, telemetry, threads};
use crate::deploy::trial_load;

/// How long the process waits for backend threads after the command. A model run cannot be interrupted, so it may still
/// be active.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Parses the arguments, runs the command, and returns its exit code.
pub fn main() -> ExitCode {
    let noted = signals::note();
    trial_load::enable();
    if let Err(error) = threads::check_stack() {
        let _ = writeln!(io::stderr(), "plimsoll: {error}");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    if let Err(error) = telemetry::start(cli.log) {
        // Without the thread of the log, this is the only line that is written.
        let _ = writeln!(
            io::stderr(),
            "plimsoll: the thread of the log cannot be started: {error}; raise the limit of threads (`ulimit -u`, `pids` \
             of the container) or of the address space (`ulimit -v`)"
        );
        return ExitCode::FAILURE;
    }
    panics::log_panics();
    descriptors::raise_limit();
    if let Err(error) = noted {
        return Error::Failed(format!("cannot wait for signals: {error}")).report();
    }
    let command = cli.command.unwrap_or_default();
    // The process that tries a model ends with the server that asks.
    if !matches!(command, Command::Serve(_) | Command::LoadModel(_)) {
        signals::end_process();
    }
    let code = output::finish(run(command));
    telemetry::finish();
    code
}

fn run(command: Command) -> ExitCode {
    if let Err(error) = descriptors::check() {
        return Error::failed(error).report();
    }
    let is_server = matches!(command, Command::Serve(_));
    // The async runtime panics if the system refuses a thread.
    if is_server && let Err(error) = address_space::check() {
        return Error::Limit(error.to_string()).report();
    }
    if let Err(error) = threads::check(is_server) {
        return Error::failed(error).report();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Error::Failed(format!("the async runtime cannot be started: {error}")).report(),
    };
    let result = runtime.block_on(command.run());
    // Requests that are aborted here still write their log line.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result.unwrap_or_else(|error| error.report())
}
