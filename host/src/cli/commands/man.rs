//! `plimsoll man`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::arguments::description;
use crate::cli::error::Error;

/// Writes the manual pages.
#[derive(Debug, Args)]
pub(in crate::cli) struct Man {
    /// The folder for the pages: `plimsoll.1`, and one for each command.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let folder = &self.folder;
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(description(), folder));
        let failed = |error| Error::Failed(format!("the pages cannot be written to {}: {error}", folder.display()));
        written.map_err(failed)?;
        Ok(ExitCode::SUCCESS)
    }
}
