//! The optimisations of onnxruntime that a model must be loaded without, because they would change its answers.

use super::analysis::Analysis;

/// Never used: the first multiplies the scales of a product before the product, which can overflow; the second converts
/// quantised convolutions of INT8 wrongly where they saturate; the third lets the statistics of a `BatchNormalization` in
/// training mode share their memory with another constant.
const NEVER: [&str; 3] = ["MatMulScaleFusion", "QDQS8ToU8Transformer", "ConstantSharing"];

/// These mistake a mean over axes that are not kept for the mean of a normalisation, which keeps them.
const NORMALISATIONS: [&str; 3] = ["LayerNormFusionL1", "LayerNormFusionL2", "SimplifiedLayerNormFusion"];

/// These compute the same in another order. The difference is a rounding error, which matters only if the number is
/// rounded to an integer or compared afterwards.
const REORDERING: [&str; 17] = [
    "AttentionFusion",
    "BiasGeluFusion",
    "BiasSkipLayerNormFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "DivMulFusion",
    "EmbedLayerNormFusion",
    "FastGeluFusion",
    "GeluFusionL1",
    "GeluFusionL2",
    "GemmSumFusion",
    "MatMulAddFusion",
    "MatMulBNFusion",
    "MatMul_BatchNormalization_Fusion",
    "QuickGeluFusion",
    "SkipLayerNormFusion",
    "SwiGluFusion",
];

/// The names of the optimisations to switch off.
pub(super) fn disabled(analysis: &Analysis) -> Vec<&'static str> {
    let mut names = NEVER.to_vec();
    if analysis.squeezes_means || analysis.rounds_data {
        names.extend(NORMALISATIONS);
    }
    if analysis.rounds_data {
        names.extend(REORDERING);
    }
    names
}
