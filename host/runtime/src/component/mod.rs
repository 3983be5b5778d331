//! Components: from the bytes of a file to a stage that can be instantiated.
//!
//! - [`artifact`]: the bytes, digest and metadata of a component.
//! - [`module`]: a core module that becomes a component.
//! - [`error`]: why a component is rejected.
//! - [`exports`]: its imports and exports, read without compiling it.
//! - [`function_size`]: the functions that are too large for the compiler.
//! - [`nesting`]: components in components that are too deep for the compiler.
//! - [`proposals`]: the proposals of WebAssembly that a plugin may not use.
//! - [`preparer`]: compiles, checks the world, runs `init`, takes a snapshot.
//! - [`snapshot`]: the linear memory after `init` as the initial memory of every instance.
//! - [`compiled_cache`]: compiled code on disk. `cache_key`: the key of its entries. `draft`: its files while they are
//!   written.

pub mod artifact;
mod cache_key;
pub mod compiled_cache;
mod draft;
pub mod error;
pub mod exports;
pub mod function_size;
pub mod module;
pub mod nesting;
pub mod preparer;
pub mod proposals;
pub mod snapshot;

pub use artifact::{Artifact, Metadata};
pub use compiled_cache::{CacheError, CompiledCache};
pub use error::{ArtifactError, ComponentError, Rejection};
pub use preparer::Preparer;
