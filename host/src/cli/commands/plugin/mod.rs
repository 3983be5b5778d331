//! `plimsoll plugin`: make a plugin, and deploy it to a server that runs.

mod build;
mod name;
mod new;
mod registry;
mod remote;
mod sdk;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::Error;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Plugin {
    /// Make a new plugin: a crate that builds and deploys as it is.
    New(new::New),
    /// Build a plugin's crate, check what it is, and put the component where it is wanted.
    Build(build::Build),
    /// List the plugins of a running server with their versions.
    List(remote::List),
    /// Deploy a component to a running server, and wait until it serves or is refused.
    Deploy(remote::Deploy),
    /// Bring the previous version of a plugin back.
    Rollback(remote::Rollback),
    /// Fetch a component from an OCI registry.
    Pull(registry::Pull),
    /// Put a component into an OCI registry.
    Push(registry::Push),
}

impl Plugin {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        match self {
            Self::New(command) => command.run(),
            Self::Build(command) => command.run(),
            Self::List(command) => command.run().await,
            Self::Deploy(command) => command.run().await,
            Self::Rollback(command) => command.run().await,
            Self::Pull(command) => command.run().await,
            Self::Push(command) => command.run().await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}
