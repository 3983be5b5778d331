//! `plimsoll plugin`: creates a plugin and deploys it to a running server.

mod build;
mod fleet;
mod language;
mod member;
mod name;
mod new;
mod registry;
mod remote;
mod requests;
mod sdk;
mod skew;
mod take_back;
mod template;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::error::Error;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Plugin {
    /// Create a new plugin in Rust, Python, JavaScript, C or C++ that can be built and deployed without changes.
    New(new::New),
    /// Build a plugin, check the component, and copy it to the given place.
    Build(build::Build),
    /// List the plugins of a running server with their versions.
    List(remote::List),
    /// Deploy a component to a running server, and wait until it serves or is rejected.
    Deploy(remote::Deploy),
    /// Roll a plugin back to its previous version.
    Rollback(remote::Rollback),
    /// Download a component from an OCI registry.
    Pull(registry::Pull),
    /// Upload a component to an OCI registry.
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
