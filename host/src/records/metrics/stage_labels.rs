//! The labels of a version of a plugin as a stage of a pipeline.

use prometheus_client::encoding::EncodeLabelSet;

/// The labels of a version of a plugin, as a stage of a pipeline on a chip.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct StageLabels {
    pub(super) pipeline: String,
    pub(super) stage: String,
    pub(super) plugin: String,
    pub(super) version: String,
    /// The first 12 hexadecimal digits of the SHA-256.
    pub(super) digest: String,
    pub(super) chip: String,
}

/// The digits of a digest that a label has.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
