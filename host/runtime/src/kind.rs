//! The kinds of stage, and the name of a stage in its pipeline.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A kind of stage; each is a world of the contract (`wit/stage.wit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// World `preprocessor`: body → tensors.
    Preprocess,
    /// World `inferencer`: tensors → tensors.
    Infer,
    /// World `transformer`: tensors → tensors, or items.
    Transform,
    /// World `postprocessor`: tensors → reply.
    Postprocess,
}

impl StageKind {
    /// All kinds, in the order in which a request passes through them.
    pub const ALL: [Self; 4] = [Self::Preprocess, Self::Infer, Self::Transform, Self::Postprocess];

    /// The kinds of a pipeline of three stages, in their order.
    pub const STAGES: [Self; 3] = [Self::Preprocess, Self::Infer, Self::Postprocess];

    /// The name in replies, labels and the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Infer => "infer",
            Self::Transform => "transform",
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
#[error("`{0}` is not a kind of stage; use `preprocess`, `infer`, `transform` or `postprocess`")]
pub struct UnknownKind(pub String);

/// The name of a stage in its pipeline: its kind, or the name of the step. Reports, metrics and replies use it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageName {
    kind: StageKind,
    step: Option<Arc<str>>,
}

impl StageName {
    /// The name of a step.
    pub fn step(kind: StageKind, name: &str) -> Self {
        Self { kind, step: Some(name.into()) }
    }

    /// The kind of the stage.
    pub fn kind(&self) -> StageKind {
        self.kind
    }

    /// True if it is a step, which its pipeline names.
    pub fn is_step(&self) -> bool {
        self.step.is_some()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.step.as_deref().unwrap_or(self.kind.as_str())
    }
}

/// The stage of this kind in a pipeline of three stages.
impl From<StageKind> for StageName {
    fn from(kind: StageKind) -> Self {
        Self { kind, step: None }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for StageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
