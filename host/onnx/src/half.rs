//! FLOAT16, which the engine computes as FLOAT: which values can have more digits than the model declares.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::Edit;
use crate::types::{Info, Values};

/// The integers up to this one are numbers of FLOAT16.
const LARGEST_INTEGER: f64 = 2048.0;
/// The bits of FLOAT that FLOAT16 does not have.
const LOST_BITS: u32 = (1 << 13) - 1;
/// The least number of FLOAT16 with all digits.
const LEAST_NORMAL: f64 = 1.0 / 16_384.0;

/// True if the engine keeps digits of an output of type `ty` that the model rounds away, or computes with such digits.
pub(crate) fn is_inexact(node: &NodeProto, operator: &str, ty: Option<DataType>, values: &Values) -> bool {
    let inherits = || node.input.iter().any(|name| values.get(name).is_some_and(|info| info.is_inexact_half));
    let input = node.input(0).and_then(|name| values.get(name));
    match operator {
        _ if ty.is_some_and(is_whole) => false,
        // They move or choose numbers.
        "Abs" | "Concat" | "ConcatFromSequence" | "ConstantOfShape" | "DepthToSpace" | "Dropout" | "Expand"
        | "EyeLike" | "Flatten" | "Gather" | "GatherElements" | "GatherND" | "GlobalMaxPool" | "Identity" | "Max"
        | "MaxPool" | "Min" | "Neg" | "Pad" | "ReduceMax" | "ReduceMin" | "Relu" | "Reshape" | "ReverseSequence"
        | "SequenceAt" | "SequenceConstruct" | "SequenceEmpty" | "SequenceErase" | "SequenceInsert" | "Slice"
        | "Split" | "SplitToSequence" | "Squeeze" | "Tile" | "Transpose" | "Trilu" | "Unsqueeze" | "Where" => {
            inherits()
        }
        "Cast" | "CastLike" => {
            ty == Some(DataType::FLOAT16) && !input.is_some_and(fits) || input.is_some_and(|info| info.is_inexact_half)
        }
        _ => ty == Some(DataType::FLOAT16) || inherits(),
    }
}

/// True if FLOAT16 has all numbers of a value.
fn fits(info: &Info) -> bool {
    let is_number = |number: f64| {
        let size = number.abs();
        size == 0.0
            || (LEAST_NORMAL..=crate::rules::LARGEST_HALF).contains(&size)
                && f64::from(number as f32) == number
                && (number as f32).to_bits() & LOST_BITS == 0
    };
    match (info.ty, &info.constant) {
        (Some(DataType::FLOAT16), _) => true,
        (_, Some(numbers)) => numbers.iter().all(|&number| is_number(number)),
        (Some(ty), None) => is_whole(ty) && info.bound <= LARGEST_INTEGER,
        (None, None) => false,
    }
}

/// True for types of integers and BOOL.
fn is_whole(ty: DataType) -> bool {
    !matches!(ty, DataType::FLOAT | DataType::FLOAT16 | DataType::DOUBLE)
}
