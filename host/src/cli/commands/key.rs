//! `plimsoll key new`: makes a key for a caller.

use std::process::ExitCode;

use clap::Subcommand;

use crate::base::telemetry::print_line;
use crate::cli::error::Error;
use crate::cli::output::out;
use crate::serve::keys::new_key;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Key {
    /// Make a key for a caller. Prints the key, and its line for the file of `[auth] keys_file`.
    New {
        /// The caller's name, as the memory report shows it.
        name: String,
    },
}

impl Key {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let Self::New { name } = self;
        let (key, line) = new_key(&name).map_err(|error| Error::Failed(error.to_string()))?;
        // Two lines on stdout: a script can take the first for the caller and append the second to the file.
        out!("{key}\n{line}");
        print_line(
            "The first line is the key: give it to the caller; it is not stored. Append the second to the file.",
        );
        Ok(ExitCode::SUCCESS)
    }
}
