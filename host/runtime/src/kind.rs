//! The three kinds of stage.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A kind of stage; each is a world of the contract (`wit/stage.wit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// World `preprocessor`: body → tensors.
    Preprocess,
    /// World `inferencer`: tensors → tensors.
    Infer,
    /// World `postprocessor`: tensors → reply.
    Postprocess,
}

impl StageKind {
    /// All kinds, in the order in which a request passes through them.
    pub const ALL: [Self; 3] = [Self::Preprocess, Self::Infer, Self::Postprocess];

    /// The name in replies, labels and the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Infer => "infer",
            Self::Postprocess => "postprocess",
        }
    }

    /// The interface that a component of this kind exports.
    pub fn interface(self) -> String {
        format!("plimsoll:stage/{}@0.1.0", self.as_str())
    }
}

impl fmt::Display for StageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StageKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A text that does not name a kind of stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of stage; use `preprocess`, `infer` or `postprocess`")]
pub struct UnknownKind(pub String);
