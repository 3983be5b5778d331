//! The core modules of a component.

use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

/// Why a component cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The component is damaged.
    #[error("the component cannot be read: {0}")]
    Component(BinaryReaderError),
    /// No module of the component defines a linear memory.
    #[error("the component has no linear memory")]
    NoMemory,
    /// The core module is damaged.
    #[error("the core module cannot be read: {0}")]
    CoreModule(BinaryReaderError),
}

/// The bytes of the module that defines a linear memory.
pub(super) fn own_module(component: &[u8]) -> Result<&[u8], ModuleError> {
    let modules = core_modules(component).map_err(ModuleError::Component)?;
    let with_memory = modules.into_iter().filter(|module| defines_memory(module));
    with_memory.max_by_key(|module| module.len()).ok_or(ModuleError::NoMemory)
}

/// A component's core modules, including those of nested components.
pub(super) fn core_modules(component: &[u8]) -> wasmparser::Result<Vec<&[u8]>> {
    let mut modules = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            // The parser has not checked that the module is not longer than the component.
            Payload::ModuleSection { unchecked_range, .. } => modules.extend(component.get(unchecked_range)),
            Payload::Version { encoding: Encoding::Module, range, .. } if range.start == 0 => modules.push(component),
            _ => {}
        }
    }
    Ok(modules)
}

fn defines_memory(module: &[u8]) -> bool {
    Parser::new(0)
        .parse_all(module)
        .any(|payload| matches!(payload, Ok(Payload::MemorySection(section)) if section.count() > 0))
}
