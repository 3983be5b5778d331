//! Components: from the bytes of a file to a stage that can be instantiated.
//!
//! - [`artifact`]: the bytes, digest and metadata of a component.
//! - [`module`]: a core module that becomes a component.
//! - [`error`]: why a component is rejected.
//! - [`exports`]: its imports and exports, read without compiling it.
//! - [`function_size`]: the functions that are too large for the compiler.
//! - [`nesting`]: components in components that are too deep for the compiler.
//! - [`proposals`]: the proposals of WebAssembly that a plugin may not use.
//! - [`compiler`]: compiles and links for one engine. [`initializer`]: runs `init`, takes a snapshot. `public_globals`: what
//!   lets both compilations of such a component share functions.
//! - [`preparer`]: from an artifact to a stage, with the cache, and quickly at the start.
//! - [`snapshot`]: the linear memory after `init` as the initial memory of every instance.
//! - [`compiled_cache`]: compiled code on disk. [`entry_name`], `cache_key`: the names of its entries, and the key. `cache_error`:
//!   why it cannot be used. `draft`: its files while they are written. `trusted`: loads compiled code.

pub mod artifact;
mod cache_error;
mod cache_key;
pub mod compiled_cache;
pub mod compiler;
mod draft;
pub mod entry_name;
pub mod error;
pub mod exports;
pub mod function_size;
pub mod initializer;
pub mod module;
pub mod nesting;
pub mod preparer;
pub mod proposals;
mod public_globals;
pub mod snapshot;
mod trusted;

pub use artifact::{Artifact, Metadata};
pub use cache_error::CacheError;
pub use compiled_cache::CompiledCache;
pub use entry_name::EntryName;
pub use error::{ArtifactError, ComponentError, Rejection};
pub use preparer::Preparer;
