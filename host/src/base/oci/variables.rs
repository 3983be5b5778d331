//! The environment variables that contain the credentials for a registry.

/// The environment variable with the user name. It takes precedence over docker's configuration.
pub const USERNAME: &str = "PLIMSOLL_OCI_USERNAME";

/// The environment variable with the password or access token for [`USERNAME`].
pub const PASSWORD: &str = "PLIMSOLL_OCI_PASSWORD";

/// The environment variable with the registries to which [`USERNAME`] and [`PASSWORD`] may be sent: `host` or `host:port`,
/// with commas between them. The credentials are sent to no other registry.
pub const REGISTRY: &str = "PLIMSOLL_OCI_REGISTRY";
