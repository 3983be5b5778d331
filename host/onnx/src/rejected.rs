//! The error of this crate.

use crate::ENGINE;

/// The backend that runs what the engine cannot; part of most messages.
pub(crate) const OTHER_BACKEND: &str = "use the backend `onnxruntime`";

/// A model that the engine would compute wrongly or cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

/// Why a node is rejected, and how to continue.
pub(crate) struct Reason {
    pub(crate) why: String,
    pub(crate) fix: String,
}

impl Reason {
    /// The engine does not compute this correctly, or not at all; another backend does.
    pub(crate) fn unsupported(why: impl Into<String>) -> Reason {
        Reason { why: why.into(), fix: OTHER_BACKEND.into() }
    }

    /// Like [`Reason::unsupported`], with another way to continue.
    pub(crate) fn with_fix(why: impl Into<String>, fix: impl AsRef<str>) -> Reason {
        Reason { why: why.into(), fix: format!("{}, or {OTHER_BACKEND}", fix.as_ref()) }
    }
}

impl Rejected {
    /// For the model as a whole.
    pub(crate) fn model(text: String) -> Rejected {
        Rejected(text)
    }

    /// For a node: its name (or the name of its first output), its operator and the version of the operator set.
    pub(crate) fn node(name: &str, operator: &str, opset: i64, reason: &Reason) -> Rejected {
        let Reason { why, fix } = reason;
        Rejected(format!("node `{name}` ({operator}, operator set {opset}): {ENGINE} {why}; {fix}"))
    }
}
