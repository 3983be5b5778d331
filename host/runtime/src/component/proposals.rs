//! Proposals of WebAssembly that this host does not support, by name.
//!
//! A compiler's error says what it met, for example "threads must be enabled for shared memories". An author of a plugin
//! needs to know which switch of the toolchain produced it.

use wasmparser::{Validator, WasmFeatures};

/// Larger components are not examined: each proposal costs one more validation of the whole component.
const MAX_EXAMINED: usize = 32 << 20;

/// What a plugin may not use: the proposal, and its name in plain words with the mend where there is one.
const UNSUPPORTED: [(WasmFeatures, &str); 21] = [
    (WasmFeatures::THREADS, "threads (shared memory and atomic instructions; build without `-pthread`)"),
    (WasmFeatures::MEMORY64, "64-bit memories (build for a 32-bit target, `wasm32-…`)"),
    (
        WasmFeatures::LEGACY_EXCEPTIONS,
        "the old form of exceptions (build with the standard form: `-fwasm-exceptions -mllvm -wasm-use-legacy-eh=false`)",
    ),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::COMPACT_IMPORTS, "compact import sections"),
    (WasmFeatures::CM_ASYNC, "asynchronous functions, streams and futures of the component model (WASI 0.3)"),
    (WasmFeatures::CM_ASYNC_STACKFUL, "stackful asynchronous functions of the component model"),
    (WasmFeatures::CM_MORE_ASYNC_BUILTINS, "more asynchronous built-ins of the component model"),
    (WasmFeatures::CM_THREADING, "threads of the component model"),
    (WasmFeatures::CM_ERROR_CONTEXT, "`error-context` of the component model"),
    (WasmFeatures::CM_FIXED_LENGTH_LISTS, "lists of fixed length of the component model"),
    (WasmFeatures::CM_GC, "garbage-collected types in the interface of the component model"),
    (WasmFeatures::CM_VALUES, "values of the component model"),
    (WasmFeatures::CM_MAP, "maps of the component model"),
    (WasmFeatures::CM64, "64-bit contexts of the component model"),
    (WasmFeatures::CM_IMPLEMENTS, "`implements` of the component model"),
    (WasmFeatures::CM_NESTED_NAMES, "nested names of the component model"),
];

/// The names of the proposals that `component` needs and that this host does not support. Empty if it needs none, or is
/// not valid with all of them either.
pub fn unsupported(component: &[u8]) -> Vec<&'static str> {
    let supported = UNSUPPORTED.iter().fold(
        WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL | WasmFeatures::WIDE_ARITHMETIC,
        |features, (proposal, _)| features - *proposal,
    );
    let is_valid = |features| Validator::new_with_features(features).validate_all(component).is_ok();
    let everything = UNSUPPORTED.iter().fold(supported, |features, (proposal, _)| features | *proposal);
    if component.len() > MAX_EXAMINED || !is_valid(everything) {
        return Vec::new();
    }
    // Leave out one after the other. What cannot be left out is needed.
    let mut needed = everything;
    for (proposal, _) in UNSUPPORTED {
        if is_valid(needed - proposal) {
            needed -= proposal;
        }
    }
    UNSUPPORTED.iter().filter(|(proposal, _)| needed.contains(*proposal)).map(|(_, name)| *name).collect()
}
