//! The command line. Exit codes: 0 for success, 1 for a failure (`leak`: the plugin leaks), 2 for wrong arguments
//! (`leak`: also an inconclusive result), 64 for a configuration that cannot be served.
//!
//! - `commands`: the list of commands, each in its own file. `arguments`: those of the program.
//!   `run`: parses them and runs the command.
//! - `error`: exit codes. `output`: what the commands print. `signals`: those that stop the server. `client`:
//!   requests to a running server.
//!   `administration`: the options of commands that need its token.
//! - `merged_report`: the memory reports of several servers.
//! - `init`: what `plimsoll init` works out about a model.
//! - `source`: the options that name the configuration. `stage_kind`: the stage kind as an argument. `table`:
//!   plain-text
//!   tables.

mod administration;
mod arguments;
mod client;
mod commands;
mod error;
mod init;
mod merged_report;
mod next_steps;
mod output;
mod run;
mod signals;
mod source;
mod stage_kind;
mod table;

pub use run::main;
