//! Plugins: from bytes to a stage that can be instantiated.
//!
//! - [`bundled`]: what the binary carries.
//! - [`prepare`]: compile, check the world, run `init`, snapshot.
//! - [`snapshot`]: linear memory after `init` as the memory that every instance starts from.

pub mod bundled;
pub mod prepare;
pub mod snapshot;

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use prepare::{Kind, PluginError, Preparer, call_init};

/// Which plugin, exactly.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// As the configuration names it.
    pub name: Arc<str>,
    /// From the component's metadata; `unversioned` where it has none.
    pub version: Arc<str>,
    /// SHA-256 of the component, hexadecimal.
    pub digest: Arc<str>,
}

/// A component before it is compiled.
#[derive(Clone)]
pub struct Artifact {
    /// Which plugin.
    pub identity: Identity,
    /// The component.
    pub bytes: Arc<Vec<u8>>,
}

impl Artifact {
    /// Reads name and version of a component; `name` is what the configuration calls it.
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let version = wasm_metadata::Payload::from_binary(&bytes)
            .ok()
            .and_then(|payload| payload.metadata().version.as_ref().map(ToString::to_string))
            .unwrap_or_else(|| match bundled::plugin(name) {
                Some(bundled) if bundled == bytes => env!("CARGO_PKG_VERSION").to_owned(),
                _ => "unversioned".to_owned(),
            });
        let identity = Identity { name: name.into(), version: version.into(), digest: digest.into() };
        Self { identity, bytes: Arc::new(bytes) }
    }
}
