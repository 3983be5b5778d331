//! Zeros and their signs. Engines differ in the sign of a zero that some operators return, which only a division by this zero
//! shows: it gives the other infinity.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{Attributes, Edit};
use crate::types::{Info, Values};

/// What is known about the zeros of a value, from the strongest statement to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Zeros {
    /// There are none.
    Absent,
    /// All are +0.
    Positive,
    /// Each has the sign that ONNX defines.
    Exact,
    /// The sign may be another one.
    Unknown,
}

impl Zeros {
    /// Those of a constant. The engine does not keep −0 everywhere.
    pub(crate) fn of_constant(values: &[f64]) -> Zeros {
        if values.iter().any(|&value| value == 0.0 && value.is_sign_negative()) {
            Zeros::Unknown
        } else if values.contains(&0.0) {
            Zeros::Positive
        } else {
            Zeros::Absent
        }
    }
}

/// What is known about the zeros of the first output of a node.
pub(crate) fn output(node: &NodeProto, operator: &str, values: &Values) -> Zeros {
    let unknown = Info::unknown();
    let info = |index: usize| node.input(index).and_then(|name| values.get(name)).unwrap_or(&unknown);
    let zeros = |index: usize| info(index).zeros;
    let inputs = || (0..node.input.len()).filter(|&index| node.input(index).is_some()).map(info);
    let worst = || inputs().map(|info| info.zeros).max().unwrap_or(Zeros::Unknown);
    let at_least = |least: Zeros, zeros: Zeros| if zeros <= Zeros::Exact { zeros.max(least) } else { zeros };
    // No input has −0.
    let are_positive = || worst() <= Zeros::Positive;
    let positive_if = |holds: bool| if holds { Zeros::Positive } else { Zeros::Unknown };
    let never_negative = || inputs().all(|info| info.never_negative);
    match operator {
        "Abs" | "Exp" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" | "Sigmoid" | "Softmax" | "Softplus" | "Size" => {
            Zeros::Positive
        }
        "Pow" => match info(1).constant.as_deref() {
            Some(exponents) if exponents.iter().all(|exponent| exponent % 2.0 == 0.0 && *exponent > 0.0) => {
                Zeros::Positive
            }
            _ => positive_if(zeros(0) <= Zeros::Positive && info(0).never_negative),
        },
        // They move or choose numbers.
        "ConcatFromSequence" | "DepthToSpace" | "Dropout" | "Expand" | "Flatten" | "Gather" | "GatherElements"
        | "GatherND" | "Identity" | "MaxPool" | "Reshape" | "ReverseSequence" | "Slice" | "Split" | "Squeeze"
        | "Tile" | "TopK" | "Transpose" | "Unsqueeze" => zeros(0),
        "Concat" => worst(),
        "Where" => zeros(1).max(zeros(2)),
        "Pad" | "Trilu" => at_least(Zeros::Positive, zeros(0)),
        "Cast" if info(0).ty.is_some_and(is_whole) => Zeros::Positive,
        // A number can become too small.
        "Cast" => at_least(Zeros::Exact, zeros(0)),
        // They compute the sign by itself, and small numbers can become 0.
        "Asinh" | "Ceil" | "Elu" | "Floor" | "HardSwish" | "LeakyRelu" | "Round" | "Tan" => {
            at_least(Zeros::Exact, zeros(0))
        }
        "Neg" => {
            if zeros(0) == Zeros::Positive {
                Zeros::Exact
            } else {
                zeros(0)
            }
        }
        "Sqrt" => zeros(0),
        "Mul" if node.input(0) == node.input(1) => Zeros::Positive,
        "Div" | "Mul" if never_negative() && are_positive() => Zeros::Positive,
        "Div" | "Mul" | "PRelu" | "Reciprocal" => at_least(Zeros::Exact, worst()),
        "Add" | "Sum" if never_negative() && inputs().any(|info| info.zeros == Zeros::Absent) => Zeros::Absent,
        // Only the sum of two −0 is −0. The engine leaves out a constant of 0.
        "Add" | "Sum" if inputs().any(|info| info.zeros == Zeros::Absent) && worst() <= Zeros::Exact => Zeros::Positive,
        "Add" | "Sum" if are_positive() => Zeros::Positive,
        "Add" | "Sum" if inputs().all(|info| !info.is_constant) => at_least(Zeros::Exact, worst()),
        "Sub" if zeros(0) <= Zeros::Positive && zeros(1) <= Zeros::Exact => Zeros::Positive,
        "Sub" => at_least(Zeros::Exact, worst()),
        "Relu" => positive_if(are_positive()),
        "Clip" => clip(node, &info),
        "Max" if inputs().any(|info| info.is_constant && info.never_negative && info.zeros == Zeros::Absent) => {
            Zeros::Absent
        }
        "Max" | "Min" if are_positive() => Zeros::Positive,
        "ReduceMax" | "ReduceMin" => {
            if are_first_positive(info(0)) {
                zeros(0)
            } else {
                Zeros::Unknown
            }
        }
        "ReduceMean" | "ReduceSum" => positive_if(are_first_positive(info(0))),
        "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => positive_if(are_positive()),
        _ => Zeros::Unknown,
    }
}

fn are_first_positive(info: &Info) -> bool {
    info.zeros <= Zeros::Positive
}

/// `Clip`, whose lower limit can exclude zeros.
fn clip<'a>(node: &NodeProto, info: &dyn Fn(usize) -> &'a Info) -> Zeros {
    let limit = |index: usize, name: &str| match node.float(name) {
        Some(limit) => Some(vec![f64::from(limit)]),
        None => node.input(index).and_then(|_| info(index).constant.clone()),
    };
    let (low, high) = (limit(1, "min"), limit(2, "max"));
    let has = |index: usize, name: &str| node.float(name).is_some() || node.input(index).is_some();
    let is_ordered = !has(2, "max") || low.iter().flatten().zip(high.iter().flatten()).any(|(low, high)| low <= high);
    if low.as_ref().is_some_and(|low| low.iter().all(|&low| low > 0.0)) && is_ordered {
        return Zeros::Absent;
    }
    let limits = [(low, has(1, "min")), (high, has(2, "max"))];
    let are_positive = limits.iter().all(|(limit, is_there)| match limit {
        Some(limit) => Zeros::of_constant(limit) <= Zeros::Positive,
        None => !is_there,
    });
    if are_positive && info(0).zeros <= Zeros::Positive { Zeros::Positive } else { Zeros::Unknown }
}

fn is_whole(ty: DataType) -> bool {
    !matches!(ty, DataType::FLOAT | DataType::FLOAT16 | DataType::DOUBLE | DataType::BFLOAT16)
}
