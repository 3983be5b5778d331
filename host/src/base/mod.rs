//! Base: parts that use nothing else of this crate.
//!
//! - [`defaults`]: limits that apply where the configuration sets none.
//! - [`files`]: what a file looks like from outside. [`bundled`]: the plugins and files that the binary contains.
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
