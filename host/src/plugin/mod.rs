//! Plugins: from bytes to a stage that can be instantiated.
//!
//! - [`artifact`]: a component's bytes, digest and metadata.
//! - [`bundled`]: what the binary carries.
//! - [`cache`]: compiled code on disk.
//! - [`oci`]: components in registries.
//! - [`prepare`]: compile, check the world, run `init`, snapshot.
//! - [`snapshot`]: linear memory after `init` as the memory that every instance starts from.

pub mod artifact;
pub mod bundled;
pub mod cache;
pub mod oci;
pub mod prepare;
pub mod snapshot;

pub use artifact::{Artifact, Identity, Metadata};
pub use prepare::{Kind, PluginError, Preparer, call_init};

/// A plugin's name is a file's name and a segment of a URL: letters, digits, `-`, `_` and `.`, not first a dot.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(format!(
            "`{name}` is no name for a plugin: up to 100 of letters, digits, `-`, `_` and `.`, and no dot at its start"
        ));
    }
    Ok(())
}
