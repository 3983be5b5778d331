//! The list of commands. To add one, write a file in this folder and add its line to the list.
//!
//! A command is a struct of arguments with `async fn run(self) -> Result<ExitCode, Error>`.

use std::process::ExitCode;

use clap::Subcommand;

use super::error::Error;

macro_rules! commands {
    ($($(#[$attribute:meta])* $module:ident::$name:ident),* $(,)?) => {
        $(mod $module;)*

        /// A command with its arguments.
        #[derive(Debug, Subcommand)]
        pub(in crate::cli) enum Command {
            $($(#[$attribute])* $name(Box<$module::$name>)),*
        }

        impl Command {
            /// Runs the command and returns its exit code.
            pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
                match self {
                    $(Self::$name(command) => command.run().await),*
                }
            }
        }
    };
}

commands! {
    /// Serve the pipelines over HTTP (the default command; without a configuration the bundled demo `digits`).
    serve::Serve,
    /// Make a folder that serves an ONNX model for images: configuration, model and labels.
    init::Init,
    /// Run one request without a server; print the reply and a table of its memory use.
    infer::Infer,
    /// Show the kind, imports, exports and size of a component.
    inspect::Inspect,
    /// Look for leaks in a plugin: run a corpus through one long-lived instance and report the memory that survives.
    ///
    /// Exit code 0 if it does not leak, 1 if it does, 2 if the result is inconclusive, 3 for a suspicion, 4 if garbage that is
    /// not collected cannot be told from a leak.
    leak::Leak,
    /// Create, deploy and roll back plugins.
    #[command(subcommand)]
    plugin::Plugin,
    /// List what models can run on here: libraries, devices, and what is missing.
    chips::Chips,
    /// Build everything that the configuration names, and report whether it can be served.
    check::Check,
    /// Show the effective configuration, or its JSON Schema.
    #[command(subcommand)]
    config::Config,
    /// Ask a running server whether it is ready: exit code 0 if it is, 1 if not.
    health::Health,
    /// Show the memory report of a running server and keep it up to date.
    top::Top,
    /// Make keys for callers.
    #[command(subcommand)]
    key::Key,
    /// Run recorded inputs again, with the same or another version of a plugin.
    replay::Replay,
    /// Print the completions of a shell.
    completions::Completions,
    /// Write the manual pages.
    man::Man,
    /// Load a model that a server sends, to find out whether it can be loaded.
    #[command(hide = true)]
    load_model::LoadModel,
}

impl Default for Command {
    fn default() -> Self {
        Self::Serve(Box::default())
    }
}
