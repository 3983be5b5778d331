//! Why a component does not become a stage.

use std::path::PathBuf;

use crate::kind::StageKind;
use crate::lack::Lack;
use crate::outcome::Outcome;
use crate::stage::StageError;

use super::exports::names_of;
use super::function_size::TooLargeFunction;
use super::nesting::TooDeep;

/// A component that was rejected.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct ComponentError {
    /// The plugin's name.
    pub plugin: String,
    /// The reason.
    pub reason: Rejection,
}

/// The reason why a component is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// There is no component in the file.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The compiler does not accept the bytes.
    #[error("it is not a component that can be compiled: {0:#}")]
    Compile(wasmtime::Error),
    /// One of its functions is so large that it is not compiled.
    #[error("it is not compiled: {0}")]
    Function(#[from] TooLargeFunction),
    /// It uses proposals of WebAssembly that this host does not support.
    #[error("it uses what this host does not support: {}; what a plugin may use stands in the documentation of plugins", .0.join(", "))]
    Unsupported(Vec<&'static str>),
    /// It does not export the interface of the kind.
    #[error(
        "it is not a plugin of kind `{kind}`: it does not export `{}` (of the stages it exports {})",
        kind.interface(),
        names_of(exported)
    )]
    Kind {
        /// The kind that is needed.
        kind: StageKind,
        /// The kinds whose interface it exports.
        exported: Vec<StageKind>,
    },
    /// It exports no interface of a stage.
    #[error("it exports none of the stages `plimsoll:stage/{{preprocess,infer,transform,postprocess}}@0.1.0`")]
    NoStage,
    /// The bytes are not valid WebAssembly.
    #[error("its exports cannot be read: {0}")]
    Exports(wasmparser::BinaryReaderError),
    /// An import or export is missing or has the wrong type.
    #[error("it does not fit its world: {0:#}")]
    World(wasmtime::Error),
    /// `init` failed, trapped or met a limit.
    #[error("`init` failed: {} ({}) {}", .0.public, .0.outcome.as_str(), .0.detail)]
    InitFailed(StageError),
    /// `init` took longer than `init_deadline`.
    #[error("`init` failed: it did not end within `init_deadline` (deadline)")]
    InitDeadline,
    /// `init` returned an error: the plugin's own message.
    #[error("`init` failed: {0}")]
    Init(String),
}

impl Rejection {
    /// Returns true if the host had no room for the component: no free instance, no memory, no file descriptors. Then the
    /// component may be tried again.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Artifact(ArtifactError::Unreadable { error, .. }) => Lack::of(error).is_some(),
            Self::Compile(error) | Self::World(error) => Lack::in_chain(error.chain()).is_some(),
            Self::InitFailed(error) => error.outcome == Outcome::NoCapacity,
            Self::Artifact(_)
            | Self::Kind { .. }
            | Self::NoStage
            | Self::Unsupported(_)
            | Self::Function(_)
            | Self::Exports(_)
            | Self::InitDeadline
            | Self::Init(_) => false,
        }
    }
}

/// Why an artifact has no component.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The stored copy cannot be read.
    #[error("its stored copy {} cannot be read: {error}; deploy the component again", path.display())]
    Unreadable {
        /// The copy.
        path: PathBuf,
        /// The error of the file system.
        error: std::io::Error,
    },
    /// The stored copy has another digest.
    #[error("its stored copy {} was changed; deploy the component again", .0.display())]
    Changed(PathBuf),
    /// It has too many levels of components.
    #[error("it is not compiled: {0}")]
    TooDeep(#[from] TooDeep),
    /// Other bytes.
    #[error("it is not a component: it is not WebAssembly")]
    NotWebAssembly,
    /// A core module without the metadata of wit-bindgen, or with metadata that does not fit; the text says which.
    #[error(
        "it is a core module that cannot be converted to a component ({0}); build it for `wasm32-wasip2`, or with \
         wit-bindgen for `wasm32-unknown-unknown`"
    )]
    CoreModule(String),
}
