//! Components in registries: pulled and pushed as OCI artifacts.
//!
//! The layout is the CNCF's [Wasm OCI Artifact layout](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/),
//! the protocol the [OCI distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
//! A registry is not trusted: the manifest must have the digest that the reference has, and the component the digest
//! and the size that the manifest has.
//!
//! - [`OciReference`]: what an artifact is called.
//! - [`Credentials`]: whose access is used.
//! - [`transfer`]: pull and push. `session`: the requests to one registry. `layout`: the manifest of an artifact.
//! - [`error`]: why a pull or push failed.

pub mod credentials;
pub mod error;
mod layout;
pub mod reference;
mod session;
pub mod transfer;
pub mod variables;

pub use credentials::Credentials;
pub use error::OciError;
pub use reference::OciReference;
pub use transfer::{Pulled, pull, pull_as, push, push_as};
