//! Pulls components from registries and pushes them, as OCI artifacts.
//!
//! The layout is the CNCF's [Wasm OCI Artifact layout](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).
//! The protocol is the
//! [OCI distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
//!
//! A registry is not trusted: the manifest must have the digest in the reference, and the component must have the
//! digest and the size in the manifest.
//!
//! - [`OciReference`]: the name of an artifact. `parse`: parses it.
//! - [`Credentials`]: the credentials for a registry.
//! - [`transfer`]: pull and push. `session`: the requests to one registry.
//!   `registry_client`: sends them. `layout`: the manifest of an artifact.
//! - [`model_pull`]: pulls models into a folder. `model_layout`: their manifest. [`stored_model`]: reads them there.
//! - [`error`]: the errors of pull and push. `explain`: makes them of the errors of the client.

pub mod credentials;
pub mod error;
mod explain;
mod layout;
mod model_layout;
pub mod model_pull;
mod named_address;
mod parse;
pub mod reference;
mod registry_client;
mod session;
pub mod stored_model;
pub mod transfer;
pub mod variables;

pub use credentials::Credentials;
pub use error::OciError;
pub use model_pull::pull_model;
pub use reference::OciReference;
pub use stored_model::{StoredModel, StoredModelError};
pub use transfer::{Pulled, pull, pull_as, push, push_as};
