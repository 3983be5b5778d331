//! The names of entries in the compiled cache.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::identity::hex;

/// The name of an entry: a digest of everything that its code depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryName(pub(super) String);

impl EntryName {
    /// The name of code for `engine` that depends on `parts`, in this order.
    pub fn new<'a>(engine: &Engine, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Digester(Sha256::new());
        env!("CARGO_PKG_VERSION").hash(&mut digest);
        engine.precompile_compatibility_hash().hash(&mut digest);
        for part in parts {
            // The length is included, so that no two lists of parts give the same bytes.
            digest.write(&(part.len() as u64).to_le_bytes());
            digest.write(part);
        }
        Self(hex(&digest.0.finalize()))
    }

    /// The name of something that is no code of an engine, and depends on `parts`.
    pub fn without_engine(parts: &[&str]) -> Self {
        let mut digest = Digester(Sha256::new());
        (env!("CARGO_PKG_VERSION"), parts).hash(&mut digest);
        Self(hex(&digest.0.finalize()))
    }
}

/// A SHA-256 hasher for values that implement [`Hash`].
struct Digester(Sha256);

impl Hasher for Digester {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used; the trait requires it.
    fn finish(&self) -> u64 {
        0
    }
}
