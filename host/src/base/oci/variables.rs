//! The environment variables with the credentials of a registry.

/// The environment variable with the user name; it takes precedence over docker's configuration.
pub const USERNAME: &str = "PLIMSOLL_OCI_USERNAME";

/// The environment variable with the password or access token of [`USERNAME`].
pub const PASSWORD: &str = "PLIMSOLL_OCI_PASSWORD";
