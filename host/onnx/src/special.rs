//! Where NaN and infinities come from: which values can contain them although the inputs of the model are finite. Sums
//! and products of finite numbers are assumed to be finite.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::bounds;
use crate::node::{Attributes, Edit};
use crate::types::{Info, Values};

/// Whether the outputs of a node can contain NaN, and infinities.
pub(crate) fn outputs(node: &NodeProto, operator: &str, values: &Values) -> (bool, bool) {
    let unknown = Info::unknown();
    let info = |index: usize| node.input(index).and_then(|name| values.get(name)).unwrap_or(&unknown);
    let inputs = || (0..node.input.len()).filter(|&index| node.input(index).is_some()).map(info);
    let (nan, infinite) = (inputs().any(|info| info.may_be_nan), inputs().any(|info| info.may_be_infinite));
    // The operators on infinities: differences, and products with 0, are NaN.
    let computed = (nan || infinite, infinite);
    match operator {
        // They move, choose or compare numbers.
        "Abs" | "Ceil" | "Concat" | "ConcatFromSequence" | "DepthToSpace" | "Dropout" | "Expand" | "Flatten"
        | "Floor" | "Gather" | "GatherElements" | "GatherND" | "GlobalMaxPool" | "Identity" | "LeakyRelu" | "Max"
        | "MaxPool" | "Min" | "Neg" | "OneHot" | "Relu" | "Reshape" | "ReverseSequence" | "Round" | "Scatter"
        | "ScatterElements" | "ScatterND" | "Slice" | "Split" | "Squeeze" | "Tile" | "TopK" | "Transpose" | "Trilu"
        | "Unsqueeze" | "Softplus" | "Elu" => (nan, infinite),
        "Where" => (info(1).may_be_nan || info(2).may_be_nan, info(1).may_be_infinite || info(2).may_be_infinite),
        "ConstantOfShape" => match node.attribute("value").and_then(|value| value.t.as_ref()) {
            Some(tensor) => {
                let info = Info::constant(tensor);
                (info.may_be_nan, info.may_be_infinite)
            }
            None => (false, false),
        },
        "Atan" | "Erf" | "HardSigmoid" | "Sigmoid" | "Sign" | "Tanh" => (nan, false),
        // Numbers beyond FLOAT16 become infinite.
        "Cast" if node.int("to") == Some(DataType::FLOAT16.0.into()) => {
            (nan, infinite || info(0).ty != Some(DataType::FLOAT16) && info(0).bound > crate::rules::LARGEST_HALF)
        }
        "Cast" => (nan, infinite),
        "CastLike" => (nan, infinite || info(1).ty == Some(DataType::FLOAT16) && info(0).ty != Some(DataType::FLOAT16)),
        "Clip" => {
            let is_finite = |index: usize, name: &str| match node.float(name) {
                Some(limit) => limit.is_finite(),
                None => node.input(index).is_some() && !info(index).may_be_infinite,
            };
            let limits = ["min", "max"].iter().any(|name| node.float(name).is_some_and(f32::is_infinite));
            (nan, (infinite || limits) && !(is_finite(1, "min") && is_finite(2, "max")))
        }
        "Pad" => {
            let value = node.float("value").unwrap_or_default();
            (nan || value.is_nan(), infinite || value.is_infinite())
        }
        // The largest and the least of no elements are infinite.
        "ReduceMax" | "ReduceMin" => (nan, infinite || may_be_empty(info(0))),
        "ReduceLogSumExp" => (nan || infinite, infinite || may_be_empty(info(0))),
        "BatchNormalization" if !info(4).never_negative => (true, true),
        "EyeLike" | "Range" => (false, false),
        // Integers can have the bits of NaN and of infinities.
        "BitCast" => (true, true),
        "Exp" | "Cosh" | "Sinh" | "Reciprocal" => (nan, true),
        "Acos" | "Acosh" | "Asin" | "Atanh" => (true, infinite),
        "Log" | "Mod" | "ReduceLogSum" => (true, true),
        "Sqrt" => (nan || !info(0).never_negative, infinite),
        "Div" if never_zero(info(1)) => (nan || infinite && info(1).may_be_infinite, infinite),
        "Div" => (true, true),
        "Pow" => match info(1).constant.as_deref() {
            Some(exponents) if exponents.iter().all(|&exponent| exponent >= 0.0 && exponent.fract() == 0.0) => {
                (nan, infinite)
            }
            _ => (true, true),
        },
        "BatchNormalization" | "InstanceNormalization" | "LayerNormalization" | "RMSNormalization"
            if node.float("epsilon") == Some(0.0) =>
        {
            (true, true)
        }
        _ => computed,
    }
}

/// True if a value may have no elements.
fn may_be_empty(info: &Info) -> bool {
    info.sizes.as_ref().is_none_or(|sizes| sizes.iter().any(|size| size.is_none_or(|size| size == 0)))
}

/// True for a constant without zeros.
fn never_zero(info: &Info) -> bool {
    info.constant.as_deref().is_some_and(|values| values.iter().all(|&value| value != 0.0))
}

/// True if no element of the first output of a node is negative; NaN is not negative.
pub(crate) fn never_negative(node: &NodeProto, operator: &str, values: &Values) -> bool {
    let unknown = Info::unknown();
    let info = |index: usize| node.input(index).and_then(|name| values.get(name)).unwrap_or(&unknown);
    let all =
        || (0..node.input.len()).filter(|&index| node.input(index).is_some()).all(|index| info(index).never_negative);
    // INT32 wraps; 64-bit integers fail instead (`rules::integers`).
    let wraps = || {
        info(0).ty.is_none_or(|ty| ty == DataType::INT32)
            && bounds::largest(node, operator, values) > f64::from(i32::MAX)
    };
    match operator {
        "Abs" | "Add" | "Mul" | "Sum" if wraps() => false,
        // −56 is 200 in UINT8.
        "Cast" if node.int("to") == Some(DataType::INT8.0.into()) => {
            info(0).never_negative && info(0).bound <= f64::from(i8::MAX)
        }
        // The largest of no elements is the least number.
        "ReduceMax" => info(0).never_negative && !may_be_empty(info(0)),
        "Abs" | "Exp" | "HardSigmoid" | "IsInf" | "IsNaN" | "NonZero" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare"
        | "Relu" | "Shape" | "Sigmoid" | "Size" | "Softmax" | "Softplus" | "Sqrt" | "ArgMax" | "ArgMin" => true,
        "Add" | "Concat" | "Div" | "Max" | "Mean" | "Min" | "MatMul" | "Sum" => all(),
        "Mul" => all() || node.input(0) == node.input(1),
        "Pow" => {
            let is_even = |exponents: &[f64]| exponents.iter().all(|exponent| exponent % 2.0 == 0.0);
            info(0).never_negative || info(1).constant.as_deref().is_some_and(is_even)
        }
        "Cast" | "Expand" | "Flatten" | "Floor" | "Ceil" | "Round" | "Gather" | "Identity" | "MaxPool"
        | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceMin" | "ReduceProd"
        | "ReduceSum" | "Reshape" | "Slice" | "Split" | "Squeeze" | "Tile" | "Transpose" | "Unsqueeze" => {
            info(0).never_negative
        }
        _ => false,
    }
}
