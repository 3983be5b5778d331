//! A value that `init` makes once per deployment, and that every request uses.

use std::sync::OnceLock;

use crate::Failure;

/// A value that [`Init::init`](crate::Init::init) makes, for example the settings. Declare it as a `static`, because every
/// instance starts with the memory as `init` left it.
pub struct Configured<T>(OnceLock<T>);

impl<T> Configured<T> {
    /// Without a value.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Sets the value. Call this once, in `init`.
    ///
    /// # Errors
    /// If it was set before.
    pub fn set(&self, value: T) -> Result<(), String> {
        self.0.set(value).map_err(|_| "the plugin is already initialised".into())
    }

    /// The value that `init` has set.
    ///
    /// # Errors
    /// If `init` was not called, which is a fault of the host.
    pub fn get(&self) -> Result<&T, Failure> {
        self.0.get().ok_or_else(|| Failure::Internal("`init` was not called".into()))
    }
}

impl<T> Default for Configured<T> {
    fn default() -> Self {
        Self::new()
    }
}
