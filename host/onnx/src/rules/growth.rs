//! Operators whose result can have more elements than their inputs, after values whose size depends on numbers of a request.
//! The estimate of a run (`run_size`) does not know such sizes, so the model checks them while it runs.

mod sizes;

use rten_onnx::onnx::{DataType, NodeProto};

use super::arithmetic::rank_needed;
use super::{Replaced, guard, requested};
use crate::node::{Edit, cast, new, title};
use crate::rejected::Reason;
use crate::site::Site;
use crate::stated;
use crate::types::Info;

/// Lets a node fail while it runs before it creates a tensor that is too large. `replaced` are the nodes of its rule.
pub(super) fn guard(node: &NodeProto, mut replaced: Vec<NodeProto>, site: &mut Site) -> Replaced {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let infos: Vec<Info> = (0..node.input.len()).map(|index| site.info(node, index)).collect();
    if !infos.iter().any(|info| info.is_dependent) || has_one_size(node, operator, &infos) {
        return Ok(replaced);
    }
    // `requested` checks them.
    if stated::states_sizes(node, site.values) {
        return Ok(replaced);
    }
    let mut made = Vec::new();
    // Lists of sizes, whose product is the number of elements at most.
    let factors = match operator {
        "MatMul" => vec![sizes::product(node, &infos, &mut made, site)],
        "Gemm" => vec![sizes::gemm(node, &mut made, site)],
        "Einsum" => vec![sizes::einsum(node, &infos, &mut made, site).ok_or_else(unknown_growth)?],
        "Attention" => vec![sizes::attention(node, &infos, &mut made, site).ok_or_else(unknown_growth)?],
        "Conv" | "ConvInteger" => vec![sizes::conv(node, &infos, &mut made, site).ok_or_else(rank_needed)?],
        "GRU" | "LSTM" => vec![sizes::recurrent(node, &mut made, site)],
        "GridSample" => vec![sizes::sampled(node, &infos, &mut made, site).ok_or_else(rank_needed)?],
        "Gather" => vec![sizes::gathered(node, &infos, &mut made, site).ok_or_else(rank_needed)?],
        "GatherND" => vec![sizes::gathered_slices(node, &infos, &mut made, site).ok_or_else(rank_needed)?],
        "Concat" => vec![sizes::joined(node, &mut made, site)],
        "Expand" | "OneHot" | "Pad" | "Resize" | "Tile" | "Upsample" if stated::sizes(node, operator).is_some() => {
            requested::counts(node, operator, &mut made, site)
        }
        _ if broadcasts(operator) => vec![sizes::broadcast(node, &infos, &mut made, site)],
        _ => return Err(unknown_growth()),
    };
    let mut total: Option<String> = None;
    for sizes in factors {
        let (number, size, count) = (site.name("number"), site.name("absolute"), site.name("count"));
        made.push(cast(&sizes, DataType::FLOAT, &number));
        made.push(new("Abs", &[&number], &size));
        made.push(new("ReduceProd", &[&size], &count).with_int("keepdims", 0));
        total = Some(match total {
            Some(total) => {
                let both = site.name("product");
                made.push(new("Mul", &[&total, &count], &both));
                both
            }
            None => count,
        });
    }
    let total = total.ok_or_else(unknown_growth)?;
    // The check adds 0 to the input that it passes on, which is possible for these types.
    let is_number = |info: &Info| {
        let ty = info.ty;
        matches!(ty, Some(DataType::FLOAT | DataType::FLOAT16 | DataType::INT64 | DataType::INT32 | DataType::BOOL))
    };
    let is_used = |name: &str| replaced.iter().any(|node| node.input.iter().any(|input| input == name));
    let input = (0..infos.len())
        .filter(|&index| is_number(&infos[index]))
        .find_map(|index| node.input(index).filter(|name| is_used(name)));
    let input = input.ok_or_else(unknown_growth)?.to_owned();
    let checked = site.name("checked");
    let text = format!("{}a tensor is too large at node `{}`", guard::CHECK, title(node));
    made.extend(guard::check(&total, crate::LARGEST_VALUE as f32, text, &input, &checked, site));
    for name in replaced.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == input) {
        name.clone_from(&checked);
    }
    made.append(&mut replaced);
    Ok(made)
}

/// The result can have any number of elements.
fn unknown_growth() -> Reason {
    Reason::with_fix(
        "cannot limit the result of this operator, because numbers of a request decide how many elements its inputs have",
        "compute the sizes from the shapes of the inputs",
    )
}

/// Operators that broadcast all inputs.
fn broadcasts(operator: &str) -> bool {
    matches!(
        operator,
        "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Mod"
            | "Pow"
            | "And"
            | "Or"
            | "Xor"
            | "Equal"
            | "Greater"
            | "GreaterOrEqual"
            | "Less"
            | "LessOrEqual"
            | "Min"
            | "Max"
            | "Sum"
            | "Mean"
            | "Where"
    )
}

/// True if a result is not larger than its inputs: operators that do not broadcast, and those with at most one input of more
/// than one element. Operators that are not named can create results of any size.
fn has_one_size(node: &NodeProto, operator: &str, infos: &[Info]) -> bool {
    let is_single = |info: &Info| {
        info.rank == Some(0) || info.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|size| *size == Some(1)))
    };
    match operator {
        _ if broadcasts(operator) => infos.iter().filter(|info| !is_single(info)).count() < 2,
        "Concat" => infos.len() < 2,
        // A vector times matrices has fewer elements than they.
        "MatMul" => infos.iter().any(|info| info.rank == Some(1)),
        // Their scales could broadcast.
        "BatchNormalization"
        | "DequantizeLinear"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "QuantizeLinear"
        | "RMSNormalization" => infos.iter().skip(1).all(|info| !info.is_dependent),
        "Pad" | "Upsample" => false,
        // `requested` checks them.
        "ConstantOfShape" | "Loop" | "Range" => true,
        "Abs"
        | "Acos"
        | "Acosh"
        | "ArgMax"
        | "ArgMin"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "AveragePool"
        | "BitCast"
        | "Cast"
        | "CastLike"
        | "Ceil"
        | "Clip"
        | "ConcatFromSequence"
        | "Constant"
        | "Cos"
        | "Cosh"
        | "CumSum"
        | "DepthToSpace"
        | "Dropout"
        | "DynamicQuantizeLinear"
        | "Elu"
        | "Erf"
        | "Exp"
        | "EyeLike"
        | "Flatten"
        | "Floor"
        | "GatherElements"
        | "Gelu"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "HardSigmoid"
        | "HardSwish"
        | "Identity"
        | "If"
        | "IsInf"
        | "IsNaN"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "LpNormalization"
        | "MaxPool"
        | "Neg"
        | "NonZero"
        | "Not"
        | "PRelu"
        | "RandomNormal"
        | "RandomNormalLike"
        | "RandomUniform"
        | "RandomUniformLike"
        | "Reciprocal"
        | "Relu"
        | "Reshape"
        | "ReverseSequence"
        | "RotaryEmbedding"
        | "Round"
        | "Scatter"
        | "ScatterElements"
        | "ScatterND"
        | "SequenceAt"
        | "SequenceConstruct"
        | "SequenceEmpty"
        | "SequenceErase"
        | "SequenceLength"
        | "Shape"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Size"
        | "Slice"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Split"
        | "SplitToSequence"
        | "Sqrt"
        | "Squeeze"
        | "Swish"
        | "Tan"
        | "Tanh"
        | "TopK"
        | "Transpose"
        | "Trilu"
        | "Unsqueeze" => true,
        _ => operator.starts_with("Reduce") || node.input.is_empty(),
    }
}
