//! The optimisations of onnxruntime that a model must be loaded without, because they would change its answers.

use super::analysis::Analysis;

/// Never used:
///
/// - `MatMulScaleFusion` multiplies the scales of a product before the product, which can overflow.
/// - `MatmulTransposeFusion` transposes a vector or the other operand wrongly, and ends the process for some products of
///   FLOAT16.
/// - `QDQS8ToU8Transformer` converts quantised convolutions of INT8 wrongly where they saturate.
/// - `DoubleQDQPairsRemover` removes a quantisation whose scale or zero point differs from that of the next one.
/// - `ConstantSharing` lets the statistics of a `BatchNormalization` in training mode share their memory with another
///   constant.
/// - `FuseReluClip` fails for DOUBLE.
const NEVER: [&str; 6] = [
    "MatMulScaleFusion",
    "MatmulTransposeFusion",
    "QDQS8ToU8Transformer",
    "DoubleQDQPairsRemover",
    "ConstantSharing",
    "FuseReluClip",
];

/// These mistake a mean over axes that are not kept for the mean of a normalisation, which keeps them. Their result has
/// the dimensions of the input, also where a scale, an offset or another constant adds some.
const NORMALISATIONS: [&str; 3] = ["LayerNormFusionL1", "LayerNormFusionL2", "SimplifiedLayerNormFusion"];

/// The results of these have the dimensions of one operand, also where another one adds some.
const OF_ONE_RANK: [&str; 1] = ["DivMulFusion"];

/// The same for products of integers that are scaled. A vector as operand ends the process.
const SCALED_INTEGERS: [&str; 2] = ["MatMulIntegerToFloatFusion", "DynamicQuantizeMatMulFusion"];

/// These need scales and offsets of the length that is normalised, and fail while the model runs if they are shorter.
const NEEDING_WHOLE_SCALES: [&str; 2] = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion"];

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
    let adds = analysis.adds_dimensions;
    let mut names = NEVER.to_vec();
    for (is_changed, of) in [
        (analysis.squeezes_means || analysis.rounds_data || adds, &NORMALISATIONS[..]),
        (adds, &OF_ONE_RANK),
        (adds || analysis.multiplies_integer_vectors, &SCALED_INTEGERS),
        (adds || analysis.has_short_scales, &NEEDING_WHOLE_SCALES),
        (analysis.rounds_data, &REORDERING),
    ] {
        if is_changed {
            names.extend(of);
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}
