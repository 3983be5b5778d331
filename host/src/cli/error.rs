//! The error of a command, and its exit code.

use std::fmt::Display;
use std::process::ExitCode;

use plimsoll_runtime::text::printable_lines;

use crate::base::telemetry;
use crate::config::ConfigError;

/// `EX_USAGE` of sysexits.h: the configuration cannot be served, also with the limits of the process.
const EX_USAGE: u8 = 64;

/// `plimsoll leak` is inconclusive. clap uses the same code for wrong arguments.
const EX_INCONCLUSIVE: u8 = 2;

/// The reason a command failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Failed(String),
    /// No connection to a server, so it got no request.
    #[error("{0}")]
    Unreachable(String),
    /// A request has no reply of the server: it came too late, the connection was cut, or a proxy replied instead. The server
    /// may have done what was asked, or may still do it.
    #[error("{0}")]
    NoReply(String),
    /// A limit of the process leaves no room to serve.
    #[error("{0}")]
    Limit(String),
    /// `plimsoll leak` cannot say whether there is a leak (1) or not (0).
    #[error("{0}")]
    Inconclusive(String),
}

impl Error {
    /// Creates a failure with the text of `error`.
    pub(in crate::cli) fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// As [`Error::failed`], for `plimsoll leak`.
    pub(in crate::cli) fn inconclusive(error: impl Display) -> Self {
        Self::Inconclusive(error.to_string())
    }

    /// Prints the error and returns its exit code.
    pub(in crate::cli) fn report(&self) -> ExitCode {
        telemetry::clear_status();
        // The message may contain texts of plugins, registries and servers.
        telemetry::print_line(&printable_lines(&format!("plimsoll: {self}")));
        match self {
            Self::Config(_) | Self::Limit(_) => ExitCode::from(EX_USAGE),
            Self::Failed(_) | Self::Unreachable(_) | Self::NoReply(_) => ExitCode::FAILURE,
            Self::Inconclusive(_) => ExitCode::from(EX_INCONCLUSIVE),
        }
    }
}
