//! What each operator does with the rows.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::attention::attention;
use super::constants::of_constant_node;
use super::contrib::contrib;
use super::einsum::einsum;
use super::layout::from_front;
use super::parts::{across, has_fixed_axes, is_one_number, layer_normalization, listed, same_sizes, split};
use super::reductions::{gemm, machine_learning, recurrent, reduce, softmax};
use super::sequences::sequence;
use super::shapes::{chosen, repeated, shape, sizes_computed, tile};
use super::size::Size;
use super::value::{Rows, Value, free_or_unknown, mixed};
use super::windows::{image, pad};
use crate::node::{self, Attributes};

/// The outputs of a node.
pub(super) fn apply(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Vec<Value> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let count = node.output.len();
    let absent = Value::new(Rows::Free, None);
    let input = |index: usize| inputs.get(index).copied().unwrap_or(&absent);
    let has = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    match node.domain.as_deref() {
        Some("ai.onnx.ml") => return vec![machine_learning(operator, inputs); count],
        Some("com.microsoft" | "com.ms.internal.nhwc") => return contrib(proof, node, operator, inputs),
        domain if !node::is_standard(domain) => {
            return vec![free_or_unknown(inputs, "is not an operator of the standard"); count];
        }
        _ => {}
    }
    if let Some(value) = sequence(proof, node, operator, inputs) {
        return vec![value; count];
    }
    // Axes are an attribute in older operator sets, and an input in newer ones.
    let axes = |at: usize| match node.ints("axes") {
        Some(axes) => Some(axes.to_vec()),
        None if has(at) => input(at).numbers(),
        None => None,
    };
    let first = match operator {
        "Constant" => of_constant_node(node),
        "Abs" | "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "BitwiseNot" | "Cast" | "Ceil" | "Celu"
        | "Cos" | "Cosh" | "Elu" | "Erf" | "Exp" | "Floor" | "Gelu" | "HardSigmoid" | "HardSwish" | "Identity"
        | "IsInf" | "IsNaN" | "LeakyRelu" | "Log" | "Mish" | "Neg" | "Not" | "Reciprocal" | "Relu" | "Round"
        | "Selu" | "Shrink" | "Sigmoid" | "Sign" | "Sin" | "Sinh" | "Softplus" | "Softsign" | "Sqrt" | "Swish"
        | "Tan" | "Tanh" | "ThresholdedRelu" => {
            // A cast to a shorter integer, a boolean or a number with a fraction changes how the elements compute.
            // The sizes of values are below 2^31; other integers may not be.
            let is_short = |elements: &[Size]| {
                elements.iter().all(|it| it.as_number().is_none_or(|number| i32::try_from(number).is_ok()))
            };
            let is_kept = |elements: &[Size]| match operator {
                "Identity" => true,
                "Cast" => node.int("to") == Some(7) || node.int("to") == Some(6) && is_short(elements),
                _ => false,
            };
            let elements = input(0).elements.clone().filter(|elements| is_kept(elements));
            let ones = input(0).ones.clone().filter(|_| operator == "Identity");
            Value { elements, ones, ..input(0).clone() }
        }
        "Dropout" => input(0).clone(),
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Clip" | "Div" | "Equal"
        | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Max" | "Mean" | "Min" | "Mod" | "Mul" | "Or"
        | "Pow" | "PRelu" | "Sub" | "Sum" | "Where" | "Xor" => {
            let chosen = || if operator == "Where" { chosen(inputs) } else { None };
            match sizes_computed(proof, operator, inputs).or_else(chosen) {
                Some(value) => value,
                None => {
                    let given: Vec<&Value> =
                        (0..inputs.len()).filter(|&index| has(index)).map(|index| inputs[index]).collect();
                    proof.elementwise(&given)
                }
            }
        }
        "CastLike" => proof.elementwise(&[input(0)]),
        "QuantizeLinear" | "DequantizeLinear" => {
            let per_axis = input(1).rank() != Some(0)
                && input(1).sizes.as_ref().and_then(|it| Size::product(it)) != Some(Size::number(1));
            match (&input(0).rows, input(0).rank()) {
                _ if !input(1).is_free() || !input(2).is_free() => Value::unknown("has a scale that is not constant"),
                (Rows::Along(axis), Some(rank))
                    if per_axis && from_front(node.int_or("axis", 1), rank) == Some(*axis) =>
                {
                    Value::unknown("has another scale for each row")
                }
                (Rows::Along(_), None) if per_axis => Value::unknown("has several scales"),
                _ => input(0).clone(),
            }
        }
        "Shape" => shape(node, input(0)),
        "Size" => match input(0).sizes.as_ref().and_then(|sizes| Size::product(sizes)) {
            Some(size) => Value::list(vec![size], true),
            None => Value::unknown("is a size that is not known"),
        },
        "ConstantOfShape" => match &input(0).elements {
            Some(sizes) if repeated(node, sizes).is_some() => {
                Value::list(repeated(node, sizes).unwrap_or_default(), false)
            }
            Some(sizes) => proof.filled(&Value::new(Rows::Free, Some(Vec::new())), sizes.clone()),
            None => free_or_unknown(inputs, "has a shape that is not known before a run"),
        },
        "Range" => {
            let range = free_or_unknown(inputs, "depends on the number of rows");
            let sizes = range.is_free().then(|| vec![proof.symbol()]);
            Value::new(range.rows, sizes)
        }
        "EyeLike" | "RandomNormalLike" | "RandomUniformLike" | "Multinomial" | "Bernoulli" => {
            free_or_unknown(inputs, "depends on the number of rows")
        }
        "Reshape" => proof.reshape(input(0), input(1), node.int_or("allowzero", 0) == 1),
        "Flatten" => proof.flatten(input(0), node.int_or("axis", 1)),
        "Transpose" => proof.transpose(input(0), node),
        "Squeeze" if !has(1) && node.ints("axes").is_none() && !has_fixed_axes(input(0)) => {
            proof.without_sizes(input(0), "removes all axes of size 1, which for one row is also the batch")
        }
        "Squeeze" => {
            let axes = axes(1).or_else(|| {
                let sizes: Option<Vec<i64>> = input(0).sizes.as_ref()?.iter().map(Size::as_number).collect();
                let ones =
                    sizes?.iter().enumerate().filter(|(_, size)| **size == 1).map(|(axis, _)| axis as i64).collect();
                Some(ones)
            });
            proof.squeeze(input(0), axes, false)
        }
        "Unsqueeze" => proof.squeeze(input(0), axes(1), true),
        "Concat" => proof.concat(inputs, node.int_or("axis", 1)),
        "Expand" => proof.expand(input(0), input(1)),
        "Tile" => tile(proof, input(0), input(1)),
        "Slice" => {
            let list = |values: Option<&[i64]>| {
                values.map(|values| Value::list(values.iter().copied().map(Size::number).collect(), false))
            };
            let (starts, ends) = (list(node.ints("starts")), list(node.ints("ends")));
            let (starts, ends) = (starts.as_ref().unwrap_or(input(1)), ends.as_ref().unwrap_or(input(2)));
            let steps = if has(4) { input(4).numbers().or(Some(vec![0])) } else { None };
            if has(3) && input(3).numbers().is_none() {
                proof.without_sizes(input(0), "slices along axes that are not known")
            } else {
                proof.slice(input(0), starts, ends, axes(3), steps.as_deref())
            }
        }
        "Split" => {
            return split(proof, node, inputs);
        }
        "Gather" => proof.gather(input(0), input(1), node.int_or("axis", 0)),
        "GatherElements" | "ScatterElements" => {
            let all = proof.elementwise(inputs);
            match all.rows {
                Rows::Along(_) if inputs.iter().any(|input| input.is_free()) => {
                    Value::unknown("gathers or scatters with a constant")
                }
                Rows::Along(axis) if inputs.iter().any(|input| input.size(axis) != all.size(axis)) => {
                    Value::unknown("gathers or scatters several elements of each row")
                }
                _ => across(proof, &all, node.int_or("axis", 0), "gathers elements of other rows"),
            }
        }
        "GatherND" => match (&input(0).rows, &input(1).rows) {
            (Rows::Free, Rows::Along(0)) if input(1).rank().is_some_and(|rank| rank >= 2) => {
                Value::new(Rows::Along(0), None)
            }
            (Rows::Along(0), Rows::Along(0)) if node.int_or("batch_dims", 0) >= 1 => Value::new(Rows::Along(0), None),
            _ => free_or_unknown(inputs, "gathers elements by their index"),
        },
        "MatMul" => proof.matmul(input(0), input(1)),
        "Gemm" => gemm(proof, node, inputs),
        "Conv"
        | "ConvTranspose"
        | "ConvInteger"
        | "AveragePool"
        | "MaxPool"
        | "LpPool"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "GlobalLpPool"
        | "BatchNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LRN"
        | "DepthToSpace"
        | "SpaceToDepth"
        | "Resize"
        | "Upsample"
        | "GridSample"
        | "QLinearConv"
        | "DeformConv" => {
            let image = image(proof, node, operator, inputs);
            let mut images = vec![image; count];
            if operator == "MaxPool" && count > 1 && inputs.iter().any(|input| !input.is_free()) {
                images[1] = Value::unknown("counts positions over the whole batch");
            }
            return images;
        }
        "Softmax" | "LogSoftmax" | "Hardmax" => softmax(proof, node, input(0)),
        "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceL1" | "ReduceL2"
        | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => reduce(proof, node, input(0), axes(1), has(1)),
        "ArgMax" | "ArgMin" => {
            let axis = vec![node.int_or("axis", 0)];
            reduce(proof, node, input(0), Some(axis), false)
        }
        "CumSum" => match input(1).numbers().as_deref() {
            Some([axis]) => same_sizes(input(0), across(proof, input(0), *axis, "adds up rows")),
            _ => proof.without_sizes(input(0), "adds up along an axis that is not known"),
        },
        "TopK" => {
            let part = match input(1).is_free() {
                true => across(proof, input(0), node.int_or("axis", -1), "orders rows"),
                false => Value::unknown("takes a number of elements that the request says"),
            };
            return vec![part; count];
        }
        "LpNormalization" => {
            same_sizes(input(0), across(proof, input(0), node.int_or("axis", -1), "normalises rows together"))
        }
        "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization" => {
            return layer_normalization(proof, node, inputs);
        }
        "MeanVarianceNormalization" => {
            let axes = node.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
            match (&input(0).rows, input(0).rank()) {
                (Rows::Along(rows), Some(rank)) => {
                    let joins = axes.iter().any(|&axis| from_front(axis, rank) == Some(*rows));
                    if joins { mixed("normalises rows together") } else { input(0).clone() }
                }
                _ => proof.without_sizes(input(0), "normalises a value of unknown rank"),
            }
        }
        "Einsum" => einsum(proof, node, inputs),
        "MatMulInteger" => match [2, 3].iter().all(|&at| is_one_number(input(at))) {
            true => proof.matmul(input(0), input(1)),
            false => free_or_unknown(inputs, "has several zero points"),
        },
        "QLinearMatMul" => match [1, 2, 4, 5, 6, 7].iter().all(|&at| is_one_number(input(at))) {
            true => proof.matmul(input(0), input(3)),
            false => free_or_unknown(inputs, "has several scales"),
        },
        "Attention" => return attention(node, inputs, 3),
        "NonMaxSuppression" => listed(inputs, "returns the boxes of all rows in one list"),
        "Trilu" => match (&input(0).rows, input(0).rank()) {
            (Rows::Along(axis), Some(rank)) if axis + 2 < rank && input(1).is_free() => input(0).clone(),
            (Rows::Free, _) => input(0).clone(),
            _ => Value::unknown("selects elements by their row"),
        },
        "Pad" => pad(proof, node, inputs),
        "OneHot" => match (&input(0).rows, input(0).rank()) {
            (Rows::Along(axis), Some(rank)) if input(1).is_free() && input(2).is_free() => {
                let new = from_front(node.int_or("axis", -1), rank + 1).unwrap_or(rank);
                let mut sizes = input(0).sizes.clone().unwrap_or_default();
                sizes.insert(new, proof.symbol());
                Value::new(Rows::Along(if new <= *axis { axis + 1 } else { *axis }), Some(sizes))
            }
            _ => free_or_unknown(inputs, "is not analysed"),
        },
        "LSTM" | "GRU" | "RNN" => return recurrent(proof, node, inputs),
        "DynamicQuantizeLinear" => {
            let value = match input(0).rows {
                Rows::Along(_) => mixed("uses one scale for all rows"),
                ref other => Value::new(other.clone(), None),
            };
            return vec![value; count];
        }
        "Compress" if node.int("axis").is_some() && input(1).is_free() => {
            across(proof, input(0), node.int_or("axis", 0), "selects rows by their index in the batch")
        }
        "NonZero" | "Unique" | "Compress" => {
            return vec![listed(inputs, "returns the results of all rows in one list"); count];
        }
        _ => free_or_unknown(inputs, "is not analysed"),
    };
    let mut outputs = vec![first];
    outputs.resize_with(count.max(1), || match operator {
        "Dropout" => input(0).clone(),
        _ => Value::unknown("has another output, which is not analysed"),
    });
    outputs
}
