//! Base: parts that do not depend on the rest of this crate.
//!
//! - [`defaults`]: limits that apply if the configuration sets none.
//! - [`files`]: metadata of files. [`bundled`]: the plugins and files that the binary contains.
//! - [`oci`]: components in registries.
//! - [`process`]: the memory of the process. [`allocator`]: returns freed memory to the operating system.
//! - [`telemetry`]: the log.

pub mod allocator;
pub mod bundled;
pub mod defaults;
pub mod files;
pub mod oci;
pub mod process;
pub mod telemetry;
