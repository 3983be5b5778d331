//! Core modules that describe the component which they implement: what a linker makes of C, C++ or other languages with
//! bindings of `wit-bindgen`.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::Parser;

use super::error::ArtifactError;
use super::nesting::COMPONENT_TYPE;

/// Converts a core module to a component. A module may import WASI preview 1, as the C library of the WASI SDK does: an
/// adapter translates its calls. The adapter takes one page of the module's memory.
///
/// # Errors
/// If the module has no description of its interface (a custom section `component-type`), or does not match it.
pub fn component(module: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    if !has_component_type(module) {
        return Err(ArtifactError::CoreModule("it has no description of its interface".to_owned()));
    }
    let encoded = || {
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(module)?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
            .encode()
    };
    encoded().map_err(|error| ArtifactError::CoreModule(format!("{error:#}")))
}

/// Returns true if the custom sections include wit-bindgen's description of the interface.
fn has_component_type(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with(COMPONENT_TYPE))
    })
}
