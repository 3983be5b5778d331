//! A line of a table `config`, with its reason.

/// A key of a table `config` and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Setting {
    /// The key.
    pub(in crate::cli) key: &'static str,
    /// The value as TOML.
    pub(in crate::cli) value: String,
    /// Why it has this value.
    pub(in crate::cli) reason: String,
    /// True if the model does not say so, and the user should check it.
    pub(in crate::cli) is_assumed: bool,
}

impl Setting {
    /// A setting that follows from the model.
    pub(in crate::cli) fn known(key: &'static str, value: impl Into<toml::Value>, reason: impl Into<String>) -> Self {
        Self { key, value: value.into().to_string(), reason: reason.into(), is_assumed: false }
    }

    /// A setting that the model does not determine.
    pub(in crate::cli) fn assumed(key: &'static str, value: impl Into<toml::Value>, reason: impl Into<String>) -> Self {
        Self { is_assumed: true, ..Self::known(key, value, reason) }
    }
}
