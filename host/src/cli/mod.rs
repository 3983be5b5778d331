//! The command line. Exit codes: 0 for success, 1 for a failure (of `leak`: it leaks), 2 for wrong arguments (of `leak`:
//! inconclusive), 64 for a configuration that cannot be served.
//!
//! - `commands`: the list of commands, each in its own file. `run`: parses the arguments and runs the command.
//! - `error`: exit codes. `source`: the options that name the configuration. `stage_kind`, `table`: arguments and tables.

mod commands;
mod error;
mod run;
mod source;
mod stage_kind;
mod table;

pub use run::main;
