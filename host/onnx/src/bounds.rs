//! How large the numbers of a value can be.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{Attributes, Edit};
use crate::types::{Info, Values};

/// The largest size of a dimension and the largest number of elements of a tensor that the bounds assume.
pub(crate) const LARGEST_COUNT: f64 = 67_108_864.0;
/// The largest result of a node that fails if an integer exceeds 32 bits; the difference to 32 bits is larger than the errors
/// of sums in FLOAT.
pub(crate) const GUARDED: f64 = 2.0e9;

/// The largest absolute value of the first output of a node; infinite if it depends on the input of the model.
pub(crate) fn largest(node: &NodeProto, operator: &str, values: &Values) -> f64 {
    const UNKNOWN: f64 = f64::INFINITY;
    let unknown = Info::unknown();
    let info = |index: usize| node.input(index).and_then(|name| values.get(name)).unwrap_or(&unknown);
    let inputs = || (0..node.input.len()).filter(|&index| node.input(index).is_some()).map(info);
    let largest = || inputs().fold(0.0, |bound: f64, info| bound.max(info.bound));
    match operator {
        // A request states such sizes.
        "Shape" | "Size" if info(0).is_dependent => UNKNOWN,
        "Shape" | "Size" => LARGEST_COUNT,
        "ArgMax" | "ArgMin" | "NonZero" | "NonMaxSuppression" | "SequenceLength" => LARGEST_COUNT,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN"
        | "IsInf" => 1.0,
        "Cast" | "CastLike" => match info(0).ty {
            Some(DataType::BOOL) => 1.0,
            Some(DataType::UINT8 | DataType::INT8) => 255.0,
            _ => info(0).bound,
        },
        "Identity" | "Unsqueeze" | "Squeeze" | "Reshape" | "Transpose" | "Flatten" | "Slice" | "Split" | "Tile"
        | "Expand" | "Gather" | "GatherND" | "GatherElements" | "ReduceMax" | "ReduceMin" | "Abs" | "Neg" | "Floor"
        | "TopK" | "DepthToSpace" | "Trilu" => info(0).bound,
        "Ceil" | "Round" => info(0).bound + 1.0,
        "Concat" | "Min" | "Max" | "Range" => largest(),
        "ScatterElements" | "ScatterND" | "Scatter" => match node.text_or("reduction", "none") {
            "add" => info(0).bound + info(2).bound * LARGEST_COUNT,
            "mul" => UNKNOWN,
            _ => largest(),
        },
        "Where" => info(1).bound.max(info(2).bound),
        "OneHot" => info(2).bound,
        "ConstantOfShape" => match node.attribute("value").and_then(|value| value.t.as_ref()) {
            Some(tensor) => Info::constant(tensor).bound,
            None => 0.0,
        },
        "Clip" => {
            let limit = |index: usize, name: &str| match node.float(name) {
                Some(value) => f64::from(value).abs(),
                None => info(index).bound,
            };
            limit(1, "min").max(limit(2, "max")).min(info(0).bound)
        }
        "Add" | "Sub" | "Sum" => inputs().map(|info| info.bound).sum(),
        "Mul" => inputs().map(|info| info.bound).product(),
        "Div" => match (info(0).ty, &info(1).constant) {
            (Some(DataType::INT32 | DataType::INT64), _) => info(0).bound,
            (_, Some(divisors)) => {
                let smallest = divisors.iter().fold(f64::INFINITY, |least: f64, value| least.min(value.abs()));
                info(0).bound / smallest
            }
            _ => UNKNOWN,
        },
        "Mod" => largest(),
        "CumSum" | "ReduceL1" | "ReduceSum" => match info(0).size(0).filter(|_| info(0).rank == Some(1)) {
            Some(length) => info(0).bound * length as f64,
            None => info(0).bound * LARGEST_COUNT,
        },
        _ => UNKNOWN,
    }
}
