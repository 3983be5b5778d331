//! The names of the entries in the cache of compiled code.

use crate::component::artifact::Artifact;
use crate::component::compiler::Compiler;
use crate::component::entry_name::EntryName;
use crate::stage::StageEnvironment;

/// The cache entry of a component that has no `init`.
pub(super) fn plain_name(compiler: &Compiler, artifact: &Artifact) -> EntryName {
    EntryName::new(&compiler.engine, [b"component".as_slice(), artifact.identity.digest.as_bytes()])
}

/// The cache entry of a component with the memory after `init`: it depends on everything that `init` can read.
pub(super) fn initialized_name(compiler: &Compiler, artifact: &Artifact, environment: &StageEnvironment) -> EntryName {
    let mut parts = vec![b"initialized".as_slice(), artifact.identity.digest.as_bytes()];
    for (key, value) in environment.settings() {
        parts.extend([b"config".as_slice(), key.as_bytes(), value.as_bytes()]);
    }
    for (name, digest) in environment.asset_digests() {
        parts.extend([b"asset".as_slice(), name.as_bytes(), digest.as_bytes()]);
    }
    if let Some((name, digest)) = environment.model_digest() {
        parts.extend([b"model".as_slice(), name.as_bytes(), digest.as_bytes()]);
    }
    EntryName::new(&compiler.engine, parts)
}
