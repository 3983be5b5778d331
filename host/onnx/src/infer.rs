//! What follows from a node about its outputs: element type, rank, and sizes of lists.

#[cfg(test)]
mod node_tests;

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{Attributes, Edit};
use crate::types::{Info, MOST_DIMENSIONS, Values};
use crate::{bounds, fold, half, special, stated, zeros};

/// The operator set from which on operators of two values broadcast by themselves, and not by attributes.
const BROADCASTS: i64 = 7;

/// What is known about the outputs of a node of the standard operator set, in order. `If` and `Loop` are not handled
/// here.
pub(crate) fn outputs(node: &NodeProto, opset: i64, values: &Values) -> Vec<Info> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let unknown = Info::unknown();
    let input = |index: usize| node.input(index).and_then(|name| values.get(name)).unwrap_or(&unknown);
    let count = node.output.len();
    let rank = rank(node, operator, opset, values).filter(|&rank| rank <= MOST_DIMENSIONS);
    let mut outputs: Vec<Info> = (0..count).map(|_| Info::of_type(input(0).ty, rank)).collect();
    let Some(first) = outputs.first_mut() else { return outputs };
    let inputs = || node.input.iter().filter(|name| !name.is_empty());
    let is_constant = |name: &String| values.get(name).is_some_and(|info| info.is_constant);
    first.is_constant = inputs().count() > 0 && inputs().all(is_constant) && !operator.starts_with("Random");
    first.ty = first_type(node, operator, values);
    let is_inexact_half = half::is_inexact(node, operator, first.ty, values);
    first.bound = bounds::largest(node, operator, values);
    first.never_negative = special::never_negative(node, operator, values);
    first.zeros = zeros::output(node, operator, values);
    let special = special::outputs(node, operator, values);
    if rank == Some(1) {
        first.sizes = length(node, operator, values).map(|length| vec![Some(length)]);
    } else if keeps_sizes(operator) {
        first.sizes.clone_from(&input(0).sizes);
    } else if operator == "Transpose" {
        first.sizes = transposed(node, input(0));
    }
    if matches!(operator, "Identity" | "Unsqueeze" | "Squeeze" | "Reshape" | "Cast")
        && (operator != "Cast" || first.ty == input(0).ty)
    {
        first.constant.clone_from(&input(0).constant);
        first.exceeds_32_bits = input(0).exceeds_32_bits;
    } else if first.is_constant && !(opset < BROADCASTS && node.attribute("axis").is_some()) {
        first.constant = fold::elements(node, operator, values);
    }
    let is_dependent = is_dependent(node, operator, values);
    let is_data = match operator {
        "Shape" | "Size" => input(0).is_dependent,
        _ => inputs().any(|name| values.get(name).is_none_or(|info| info.is_data)) || operator.starts_with("Random"),
    };
    for output in &mut outputs {
        (output.may_be_nan, output.may_be_infinite) = special;
        output.is_dependent = is_dependent;
        output.is_inexact_half = is_inexact_half;
        output.is_data = is_data;
    }
    for (index, output) in outputs.iter_mut().enumerate().skip(1) {
        output.rank = match operator {
            "DynamicQuantizeLinear" => Some(0),
            // Statistics.
            "BatchNormalization" => Some(1),
            // The keys and the values of all heads; other outputs are not computed.
            "Attention" => Some(4),
            // The last states.
            "GRU" | "LSTM" | "RNN" => Some(3),
            _ => output.rank,
        };
        output.ty = match operator {
            "TopK" | "MaxPool" => Some(DataType::INT64),
            "Dropout" => Some(DataType::BOOL),
            "DynamicQuantizeLinear" if index == 1 => Some(DataType::FLOAT),
            "DynamicQuantizeLinear" => Some(DataType::UINT8),
            _ => output.ty,
        };
        // Scores that a mask excludes.
        output.may_be_infinite |= operator == "Attention" && index == 3;
        if operator == "TopK" {
            output.bound = bounds::LARGEST_COUNT;
        }
    }
    outputs
}

/// Checks the first output of a standard node: a chain of nodes can double dimensions, or a list of integers, at each of
/// them. `longest` is the most elements of such a list.
pub(crate) fn check_growth(node: &NodeProto, opset: i64, values: &Values, longest: u64) -> Result<(), String> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let rank = rank(node, operator, opset, values);
    if let Some(rank) = rank.filter(|&rank| rank > MOST_DIMENSIONS) {
        return Err(format!("its result would have {rank} dimensions, and at most {MOST_DIMENSIONS} are supported"));
    }
    let is_list = rank == Some(1) && matches!(operator, "Concat" | "Gather");
    let is_whole = matches!(first_type(node, operator, values), Some(DataType::INT64 | DataType::INT32));
    let length = length(node, operator, values).and_then(|length| u64::try_from(length).ok());
    match length.filter(|&length| is_list && is_whole && length > longest) {
        Some(length) => {
            Err(format!("its result would be a list of {length} integers, and at most {longest} are supported"))
        }
        None => Ok(()),
    }
}

/// True if numbers of a request decide how many elements the outputs have.
fn is_dependent(node: &NodeProto, operator: &str, values: &Values) -> bool {
    // The number of dimensions does not depend on numbers.
    if matches!(operator, "Shape" | "Size" | "SequenceLength") {
        return false;
    }
    let is_list = |index: usize| node.input(index).and_then(|name| values.get(name)).is_some_and(|info| info.is_data);
    operator == "Reshape" && is_list(1)
        || stated::states_sizes(node, values)
        || node.input.iter().any(|name| values.get(name).is_some_and(|info| info.is_dependent))
}

fn first_type(node: &NodeProto, operator: &str, values: &Values) -> Option<DataType> {
    let input = |index: usize| node.input(index).and_then(|name| values.get(name)).and_then(|info| info.ty);
    let attribute =
        |name: &str| node.int(name).filter(|&ty| ty != 0).and_then(|ty| i32::try_from(ty).ok()).map(DataType);
    match operator {
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN"
        | "IsInf" => Some(DataType::BOOL),
        "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" | "NonMaxSuppression" | "SequenceLength" => {
            Some(DataType::INT64)
        }
        "Cast" | "BitCast" => attribute("to"),
        "CastLike" => input(1),
        "ConstantOfShape" => match node.attribute("value") {
            Some(value) => value.t.as_ref().and_then(|tensor| tensor.data_type),
            None => Some(DataType::FLOAT),
        },
        "EyeLike" => attribute("dtype").or_else(|| input(0)),
        "RandomNormal" | "RandomUniform" => attribute("dtype").or(Some(DataType::FLOAT)),
        "RandomNormalLike" | "RandomUniformLike" => attribute("dtype").or_else(|| input(0)),
        "Multinomial" => attribute("dtype").or(Some(DataType::INT32)),
        "Where" => input(1).or_else(|| input(2)),
        "OneHot" => input(2),
        "QuantizeLinear" => input(2).or_else(|| attribute("output_dtype")).or(Some(DataType::UINT8)),
        "DequantizeLinear" => input(1),
        "DynamicQuantizeLinear" => Some(DataType::UINT8),
        "MatMulInteger" | "ConvInteger" => Some(DataType::INT32),
        "SequenceEmpty" => attribute("dtype").or(Some(DataType::FLOAT)),
        "SequenceInsert" => input(1),
        _ => input(0),
    }
}

/// Operators whose first output has the sizes of the first input.
pub(crate) fn keeps_sizes(operator: &str) -> bool {
    matches!(
        operator,
        "Abs"
            | "BatchNormalization"
            | "Cast"
            | "CastLike"
            | "Ceil"
            | "Clip"
            | "Cos"
            | "CumSum"
            | "Dropout"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Floor"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "Identity"
            | "InstanceNormalization"
            | "IsInf"
            | "IsNaN"
            | "LayerNormalization"
            | "LeakyRelu"
            | "Log"
            | "LogSoftmax"
            | "Neg"
            | "Not"
            | "PRelu"
            | "Reciprocal"
            | "Relu"
            | "Round"
            | "Sigmoid"
            | "Sign"
            | "Sin"
            | "Softmax"
            | "Softplus"
            | "Softsign"
            | "Sqrt"
            | "Swish"
            | "Tan"
            | "Tanh"
            | "Trilu"
            | "QuantizeLinear"
            | "DequantizeLinear"
    )
}

fn transposed(node: &NodeProto, input: &Info) -> Option<Vec<Option<i64>>> {
    let sizes = input.sizes.as_ref()?;
    match node.ints("perm") {
        Some(order) => order.iter().map(|&axis| sizes.get(usize::try_from(axis).ok()?).copied()).collect(),
        None => Some(sizes.iter().rev().copied().collect()),
    }
}

fn rank(node: &NodeProto, operator: &str, opset: i64, values: &Values) -> Option<usize> {
    let info = |index: usize| node.input(index).and_then(|name| values.get(name));
    let rank = |index: usize| info(index).and_then(|info| info.rank);
    let length =
        |index: usize| info(index).and_then(|info| info.size(0)).and_then(|length| usize::try_from(length).ok());
    // Axes are an input since operator set 13 (since 18 for most reductions), and an attribute before.
    let axes = || match node.ints("axes") {
        Some(axes) => Some(axes.len()),
        None => length(1),
    };
    match operator {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Min" | "Max" | "Sum" | "Mean" | "Where" => {
            (0..node.input.len()).map(rank).try_fold(0, |most, rank| Some(most.max(rank?)))
        }
        "MatMul" | "MatMulInteger" => match (rank(0)?, rank(1)?) {
            (1, 1) => Some(0),
            (1, other) | (other, 1) => other.checked_sub(1),
            (left, right) => Some(left.max(right)),
        },
        "Gemm" | "Flatten" | "NonZero" | "NonMaxSuppression" => Some(2),
        // All states, of each direction.
        "GRU" | "LSTM" | "RNN" => Some(4),
        "Shape" | "Range" => Some(1),
        "Size" | "SequenceLength" => Some(0),
        "Reshape" => node.ints("shape").map(<[i64]>::len).or_else(|| length(1)),
        "ConstantOfShape" => length(0),
        "Expand" => Some(rank(0)?.max(length(1)?)),
        "Squeeze" => match (node.ints("axes"), node.input(1)) {
            (None, None) => None,
            _ => rank(0)?.checked_sub(axes()?),
        },
        "Unsqueeze" => Some(rank(0)? + axes()?),
        "Gather" => (rank(0)? + rank(1)?).checked_sub(1),
        "GatherElements" | "Transpose" if rank(0).is_none() => node.ints("perm").map(<[i64]>::len).or_else(|| rank(1)),
        "OneHot" => Some(rank(0)? + 1),
        "ArgMax" | "ArgMin" => rank(0)?.checked_sub(usize::from(node.int_or("keepdims", 1) == 0)),
        _ if operator.starts_with("Reduce") => {
            let has_axes = node.ints("axes").is_some() || node.input(1).is_some();
            match (node.int_or("keepdims", 1), has_axes) {
                (0, false) if node.int_or("noop_with_empty_axes", 0) == 0 || opset < 13 => Some(0),
                (0, _) => rank(0)?.checked_sub(axes()?),
                _ => rank(0),
            }
        }
        "GatherND" | "Einsum" | "Multinomial" | "RandomNormal" | "RandomUniform" | "SequenceAt"
        | "ConcatFromSequence" | "SplitToSequence" => None,
        "Conv" | "ConvInteger" | "ConvTranspose" => rank(0).or_else(|| rank(1)),
        "MaxPool" | "AveragePool" => rank(0).or_else(|| node.ints("kernel_shape").map(|kernel| kernel.len() + 2)),
        _ => rank(0),
    }
}

/// The number of elements of a one-dimensional first output.
fn length(node: &NodeProto, operator: &str, values: &Values) -> Option<i64> {
    let info = |index: usize| node.input(index).and_then(|name| values.get(name));
    let size = |index: usize| info(index).and_then(|info| info.size(0));
    match operator {
        "Shape" => {
            let rank = info(0)?.rank? as i64;
            let place = |value: i64| if value < 0 { (value + rank).max(0) } else { value.min(rank) };
            Some((place(node.int_or("end", rank)) - place(node.int_or("start", 0))).max(0))
        }
        "Unsqueeze" => (info(0)?.rank? == 0).then_some(1),
        "Concat" => (0..node.input.len()).map(size).try_fold(0_i64, |sum, length| sum.checked_add(length?)),
        "Gather" if info(0)?.rank? == 1 => size(1),
        "Cast" | "Identity" | "Floor" | "Ceil" | "Round" | "Neg" | "Abs" | "Sqrt" | "Not" | "Clip" => size(0),
        // One-dimensional inputs of the same length, of length 1, or scalars.
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Equal" | "Greater" | "GreaterOrEqual" | "Less"
        | "LessOrEqual" | "And" | "Or" | "Where" => (0..node.input.len())
            .map(|index| if info(index)?.rank? == 0 { Some(1) } else { size(index) })
            .try_fold(1, |most, length| Some(most.max(length?))),
        "ConstantOfShape" | "Expand" => info(if operator == "Expand" { 1 } else { 0 })
            .and_then(|shape| shape.constant.as_deref())
            .and_then(|sizes| (sizes.len() == 1).then(|| sizes[0] as i64))
            .filter(|&length| length > 1 || operator == "ConstantOfShape"),
        "Slice" => {
            let length = size(0)?;
            let one = |index: usize, attribute: &str| match node.ints(attribute) {
                Some(&[value]) => Some(value),
                _ => match info(index)?.constant.as_deref()? {
                    [value] => Some(*value as i64),
                    _ => None,
                },
            };
            let step = if node.input(4).is_some() { one(4, "steps")? } else { 1 };
            let place = |value: i64| if value < 0 { (value + length).max(0) } else { value.min(length) };
            let (start, end) = (place(one(1, "starts")?), place(one(2, "ends")?));
            (step == 1).then_some((end - start).max(0))
        }
        _ => None,
    }
}
