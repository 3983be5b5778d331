//! `plimsoll completions`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::cli::arguments::description;
use crate::cli::error::Error;
use crate::cli::output;

/// Prints the completions of a shell.
#[derive(Debug, Args)]
pub(in crate::cli) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut description(), "plimsoll", &mut text);
        output::write(&text);
        Ok(ExitCode::SUCCESS)
    }
}
