//! The result of a change: the state of a release, or why the change did not happen.

use super::build_error::BuildError;

/// The state of a release after a successful deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployedState {
    /// It answers requests.
    Serving,
    /// It is on canary.
    Canary,
    /// It was admitted, but no pipeline uses it.
    Unused,
    /// It was already serving.
    Unchanged,
}

impl DeployedState {
    /// The name in replies, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Canary => "canary",
            Self::Unused => "unused",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The release was rejected.
    #[error("plugin `{plugin}` is rejected: {reason}")]
    Rejected {
        /// The plugin.
        plugin: String,
        /// The reason, in one sentence.
        reason: String,
    },
    /// There is no such plugin or version.
    #[error("{0}")]
    NotFound(String),
    /// Another change or state prevents it now.
    #[error("{0}")]
    Conflict(String),
    /// The host has no room now, so the change could not be tried.
    #[error("{what} cannot be tried now: {reason}")]
    NoCapacity {
        /// What is changed, for example "plugin `resize`".
        what: String,
        /// The reason, in one sentence.
        reason: String,
    },
    /// A restart would forget it, and `deploy.require_durable` is set.
    #[error(
        "plugin `{plugin}` is not deployed, because a restart would forget it (`deploy.require_durable`): {reason}"
    )]
    NotDurable {
        /// The plugin.
        plugin: String,
        /// The reason, in one sentence.
        reason: String,
    },
}

impl ChangeError {
    /// Returns true if the same change may succeed later: another change prevents it, or there is no room for it now.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::NoCapacity { .. } | Self::NotDurable { .. })
    }

    /// The error of a change whose pipelines could not be built.
    pub(super) fn of_build(plugin: &str, error: &BuildError) -> Self {
        let reason = error.to_string();
        match error.is_temporary {
            true => Self::NoCapacity { what: format!("plugin `{plugin}`"), reason },
            false => Self::Rejected { plugin: plugin.to_owned(), reason },
        }
    }
}
