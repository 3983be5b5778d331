//! `[admin]`: who may administrate, and where.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::listen::Listen;
use super::texts::Addresses;

/// The environment variable with the administration token, for the server and for the commands that talk to one.
pub const TOKEN_VARIABLE: &str = "PLIMSOLL_ADMIN_TOKEN";

/// The file with the token that the server made itself, in the data folder.
pub const TOKEN_FILE: &str = "admin-token";

/// `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The file with the bearer token of administration. If it is not set, the token is read from the environment
    /// variable [`TOKEN_VARIABLE`]; if that is not set either, the server makes one and keeps it in the data folder.
    pub token_file: Option<PathBuf>,
    /// The addresses of administration, reports and metrics. If they are not set, these have the addresses of HTTP.
    #[schemars(with = "Option<Addresses>")]
    pub listen: Option<Listen>,
}
