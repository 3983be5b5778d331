//! Why a plugin cannot be examined.

use plimsoll_runtime::component::{ArtifactError, ComponentError, Rejection};
use plimsoll_runtime::stage::StageError;

use crate::module::ModuleError;

/// Why a plugin cannot be examined, or an instance of it does not start.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// The engine with the debugging interface does not start.
    #[error("the engine does not start: {0:#}")]
    Engine(wasmtime::Error),
    /// The compiler does not start.
    #[error("{0:#}")]
    Compiler(wasmtime::Error),
    /// The artifact has no component.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The core module cannot be examined.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The component cannot be compiled.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The component is not a plugin of the kind.
    #[error(transparent)]
    Kind(#[from] Rejection),
    /// Its exports do not have the types of the contract.
    #[error("the component does not fit its world: {0:#}")]
    World(wasmtime::Error),
    /// The instance does not start, or `init` traps.
    #[error("{0}")]
    Start(StageError),
    /// `init` returns an error.
    #[error("`init` failed: {0}")]
    Init(String),
    /// The engine does not show the memory of the plugin.
    #[error(
        "the memory of the instance cannot be read: no core instance matches the component's core module. This is a limit of the laboratory; report it with the component"
    )]
    NoMemory,
}
