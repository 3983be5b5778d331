//! Base: parts that do not depend on the rest of this crate.
//!
//! - [`defaults`]: limits that apply if the configuration sets none.
//! - [`files`]: metadata and content of files; [`file_access`]: the time limit for it. `path_steps`:
//!   what a path leads through. [`watched_files`]: files that are
//!   read again. [`bundled`]: the plugins and files that the binary contains.
//! - [`oci`]: components in registries. [`secrets`]: random secrets, and files for secrets.
//! - [`process`]: the memory of the process. [`descriptors`]: the limit of open file descriptors. [`address_space`]:
//!   the limit of the address space. [`threads`]: the limit of threads. [`allocator`]: returns freed memory to the operating system.
//! - [`nearest`]: the word that was probably meant. [`object`]: objects of JSON and tables of TOML.
//! - [`service_manager`]: tells systemd that the server is ready, reloads or stops.
//! - [`telemetry`]: the log. `line_queue`: the queue of its lines. `status_line`: how far long work is, on a terminal. [`panics`]: counts and logs panics.

pub mod address_space;
pub mod allocator;
pub mod bundled;
pub mod defaults;
pub mod descriptors;
pub mod file_access;
pub mod files;
pub mod hangup;
mod line_queue;
mod log_fields;
pub mod nearest;
pub mod object;
pub mod oci;
pub mod panics;
mod path_steps;
pub mod process;
pub mod secrets;
pub mod service_manager;
mod status_line;
pub mod telemetry;
pub mod threads;
pub mod watched_files;
