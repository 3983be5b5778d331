//! `plimsoll load-model`: the process in which a server loads a model first.

use std::process::ExitCode;

use clap::Args;

use crate::cli::error::Error;
use crate::deploy::trial_load;

/// Loads a model for the server that started this process, which sends it.
#[derive(Debug, Args)]
pub(in crate::cli) struct LoadModel {}

impl LoadModel {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let answered = tokio::task::spawn_blocking(trial_load::answer).await;
        answered.map_err(Error::failed)?.map_err(Error::failed)?;
        Ok(ExitCode::SUCCESS)
    }
}
