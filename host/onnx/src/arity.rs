//! The numbers of inputs and outputs that the operators require. The numbers are those of the [ONNX operator specification](https://onnx.ai/onnx/operators/).

use rten_onnx::onnx::NodeProto;

use crate::node;
use crate::rejected::Rejected;

/// Checks a node. `opset` is the version of the standard operator set. Operators that are not of the standard are not
/// checked.
pub(crate) fn check(node: &NodeProto, opset: i64) -> Result<(), Rejected> {
    if !node::is_standard(node.domain.as_deref()) {
        return Ok(());
    }
    let operator = node.op_type.as_deref().unwrap_or_default();
    require(node, operator, opset, "inputs", node.input.len(), inputs(operator, opset))?;
    require(node, operator, opset, "outputs", node.output.len(), outputs(operator))
}

fn require(
    node: &NodeProto,
    operator: &str,
    opset: i64,
    what: &str,
    given: usize,
    required: usize,
) -> Result<(), Rejected> {
    if given >= required {
        return Ok(());
    }
    let name = node::title(node);
    Err(Rejected::model(format!(
        "node `{name}` ({operator}, operator set {opset}) has {given} {what}, but the operator has at least {required}: \
         export the model again"
    )))
}

/// The smallest number of inputs.
fn inputs(operator: &str, opset: i64) -> usize {
    let since = |version: i64, before: usize, then: usize| if opset < version { before } else { then };
    match operator {
        "Constant" | "Optional" | "RandomNormal" | "RandomUniform" | "SequenceEmpty" => 0,
        "OptionalHasElement" => since(18, 1, 0),
        "Add"
        | "AffineGrid"
        | "And"
        | "BitShift"
        | "BitwiseAnd"
        | "BitwiseOr"
        | "BitwiseXor"
        | "CastLike"
        | "CausalConvWithState"
        | "CenterCropPad"
        | "Compress"
        | "Conv"
        | "ConvInteger"
        | "ConvTranspose"
        | "CumProd"
        | "CumSum"
        | "DequantizeLinear"
        | "Div"
        | "Equal"
        | "Expand"
        | "Gather"
        | "GatherElements"
        | "GatherND"
        | "Greater"
        | "GreaterOrEqual"
        | "GridSample"
        | "LayerNormalization"
        | "Less"
        | "LessOrEqual"
        | "MatMul"
        | "MatMulInteger"
        | "MaxRoiPool"
        | "MaxUnpool"
        | "Mod"
        | "Mul"
        | "NegativeLogLikelihoodLoss"
        | "NonMaxSuppression"
        | "Or"
        | "PRelu"
        | "Pow"
        | "QuantizeLinear"
        | "RMSNormalization"
        | "ReverseSequence"
        | "STFT"
        | "SequenceAt"
        | "SequenceInsert"
        | "SoftmaxCrossEntropyLoss"
        | "StringConcat"
        | "Sub"
        | "SwiGLU"
        | "TensorScatter"
        | "Xor" => 2,
        "Attention"
        | "Col2Im"
        | "DeformConv"
        | "GRU"
        | "GroupNormalization"
        | "InstanceNormalization"
        | "LSTM"
        | "LinearAttention"
        | "OneHot"
        | "RNN"
        | "Range"
        | "RoiAlign"
        | "RotaryEmbedding"
        | "Scatter"
        | "ScatterElements"
        | "ScatterND"
        | "Where" => 3,
        "BatchNormalization" | "MelWeightMatrix" => 5,
        "QLinearConv" | "QLinearMatMul" => 8,
        "Gemm" | "Loop" => since(11, 3, 2),
        "Pad" => since(11, 1, 2),
        "Reshape" => since(5, 1, 2),
        "Resize" if opset < 11 => 2,
        "Resize" => since(13, 3, 1),
        "Scan" => since(9, 2, 1),
        "Slice" => since(10, 1, 3),
        "Tile" => since(6, 3, 2),
        "TopK" => since(10, 1, 2),
        "Unsqueeze" => since(13, 1, 2),
        "Upsample" => since(9, 1, 2),
        _ => 1,
    }
}

/// The smallest number of outputs.
fn outputs(operator: &str) -> usize {
    match operator {
        "GRU" | "LSTM" | "RNN" => 0,
        "CausalConvWithState" | "LinearAttention" | "StringSplit" | "TopK" => 2,
        "DynamicQuantizeLinear" => 3,
        _ => 1,
    }
}
