//! How large the numbers of a value can be.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{Attributes, Edit};
use crate::types::{Info, Values};

/// The largest size of a dimension and the largest number of elements of a tensor.
pub(crate) const LARGEST_COUNT: f64 = crate::LARGEST_VALUE as f64;
/// The largest result of a node that fails if an integer exceeds 32 bits; the difference to 32 bits is larger than the errors
/// of sums of [`FEW`] numbers in FLOAT.
pub(crate) const GUARDED: f64 = 2.0e9;

/// Sums of so many numbers in FLOAT, one after the other, have an error of 1/16 at most.
pub(crate) const FEW: f64 = 1_048_576.0;

/// The largest absolute value of the first output of a node; infinite if it depends on the input of the model.
pub(crate) fn largest(node: &NodeProto, operator: &str, values: &Values) -> f64 {
    let bound = of_operator(node, operator, values);
    // Products and quotients of 0 and infinity.
    if bound.is_nan() { UNKNOWN } else { bound }
}

const UNKNOWN: f64 = f64::INFINITY;

fn of_operator(node: &NodeProto, operator: &str, values: &Values) -> f64 {
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
        "Cast" | "CastLike" => {
            let to = match operator {
                "Cast" => node.int("to").and_then(|ty| i32::try_from(ty).ok()).map(DataType),
                _ => info(1).ty,
            };
            match (info(0).ty, to) {
                // Any other number than 0 is true, and -1 is 255.
                (Some(DataType::BOOL), _) | (_, Some(DataType::BOOL)) => 1.0,
                (Some(DataType::UINT8 | DataType::INT8), _) | (_, Some(DataType::UINT8 | DataType::INT8)) => 255.0,
                _ => info(0).bound,
            }
        }
        // Of no elements, they are the limits of the type. With these types, the node fails then (`rules::filled`).
        "ReduceMax" | "ReduceMin"
            if !matches!(info(0).ty, Some(DataType::INT64 | DataType::BOOL)) && may_reduce_nothing(node, values) =>
        {
            UNKNOWN
        }
        "Identity" | "Unsqueeze" | "Squeeze" | "Reshape" | "Transpose" | "Flatten" | "Slice" | "Split" | "Tile"
        | "Expand" | "Gather" | "GatherND" | "GatherElements" | "ReduceMax" | "ReduceMin" | "Abs" | "Neg" | "TopK"
        | "DepthToSpace" | "Trilu" => info(0).bound,
        "Ceil" | "Floor" | "Round" => info(0).bound + 1.0,
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
            let limit = |index: usize, name: &str| match (node.float(name), node.input(index)) {
                (Some(value), _) => Some((f64::from(value).abs(), Some(f64::from(value)))),
                (None, Some(_)) => {
                    let one = info(index).constant.as_deref().and_then(|values| values.first().copied());
                    Some((info(index).bound, one))
                }
                (None, None) => None,
            };
            let (least, most, input) = (limit(1, "min"), limit(2, "max"), info(0).bound);
            // The result is the input or one of the limits. A limit outside of the range of the input replaces it.
            match (least, most) {
                (Some((low, low_value)), Some((high, high_value))) => {
                    let limits = low.max(high);
                    let is_inside = low_value.is_some_and(|value| value <= input)
                        && high_value.is_some_and(|value| value >= -input);
                    let is_ordered = low_value.zip(high_value).is_some_and(|(low, high)| low <= high);
                    if is_inside && is_ordered { limits.min(input) } else { limits }
                }
                (Some((limit, _)), None) | (None, Some((limit, _))) => limit.max(input),
                (None, None) => input,
            }
        }
        "Add" | "Sub" | "Sum" => inputs().map(|info| info.bound).sum(),
        "Mul" if inputs().any(|info| info.bound == 0.0) => 0.0,
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

/// True if a dimension over which a node reduces may have no elements.
fn may_reduce_nothing(node: &NodeProto, values: &Values) -> bool {
    let info = |index: usize| node.input(index).and_then(|name| values.get(name));
    let Some(input) = info(0) else { return true };
    let computed = || Some(info(1)?.constant.as_ref()?.iter().map(|&axis| axis as i64).collect());
    let axes: Option<Vec<i64>> = node.ints("axes").map(<[i64]>::to_vec).or_else(computed);
    let has_elements = |size: Option<i64>| size.is_some_and(|size| size > 0);
    match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => !axes.iter().all(|&axis| has_elements(input.size(axis))),
        None => input.sizes.as_ref().is_none_or(|sizes| !sizes.iter().all(|&size| has_elements(size))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{cast, new};
    use crate::tensor;

    /// The inputs and limits from which the tests choose.
    const NUMBERS: [f64; 9] = [-3e9, -100_000.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1000.0, 4e9];

    fn values(input: f64, limits: &[(&str, f64)]) -> Values {
        let mut values = Values::default();
        values.insert("x", Info { bound: input, ty: Some(DataType::FLOAT), ..Info::unknown() });
        for &(name, limit) in limits {
            values.insert(name, Info::constant(&tensor::scalar(name, DataType::FLOAT, limit as f32)));
        }
        values
    }

    #[test]
    fn a_bound_holds_for_every_input_that_its_bound_allows() {
        for bound in NUMBERS.map(f64::abs) {
            let inputs = NUMBERS.iter().copied().chain([bound, -bound]).filter(|number| number.abs() <= bound);
            for input in inputs {
                for low in NUMBERS {
                    for high in NUMBERS {
                        let limits = [("low", low), ("high", high)];
                        for (names, result) in [
                            (["x", "low", "high"], input.max(low).min(high)),
                            (["x", "low", ""], input.max(low)),
                            (["x", "", "high"], input.min(high)),
                        ] {
                            let node = new("Clip", &names, "y");
                            let most = largest(&node, "Clip", &values(bound, &limits));
                            assert!(result.abs() <= most * 1.000_001, "{names:?} {input} {low} {high}: {most}");
                        }
                        let most = largest(&new("Mul", &["x", "low"], "y"), "Mul", &values(bound, &limits));
                        assert!((input * low).abs() <= most * 1.000_001, "{input} * {low}: {most}");
                    }
                }
                for (node, result) in [
                    (new("Floor", &["x"], "y"), input.floor()),
                    (new("Ceil", &["x"], "y"), input.ceil()),
                    (new("Round", &["x"], "y"), input.round_ties_even()),
                    (new("Neg", &["x"], "y"), -input),
                    (cast("x", DataType::BOOL, "y"), f64::from(u8::from(input != 0.0))),
                    (cast("x", DataType::UINT8, "y"), (input as i64).rem_euclid(256) as f64),
                    (cast("x", DataType::INT32, "y"), input.trunc()),
                ] {
                    let operator = node.op_type.clone().unwrap_or_default();
                    let most = largest(&node, &operator, &values(bound, &[]));
                    assert!(result.abs() <= most, "{operator} of {input}: {result}, {most}");
                }
            }
        }
    }

    #[test]
    fn a_product_of_zero_and_an_unknown_number_does_not_hide_other_bounds() {
        let node = new("Mul", &["x", "zero"], "y");
        assert_eq!(largest(&node, "Mul", &values(UNKNOWN, &[("zero", 0.0)])), 0.0);
        let node = new("Div", &["x", "zero"], "y");
        assert_eq!(largest(&node, "Div", &values(0.0, &[("zero", 0.0)])), UNKNOWN);
    }

    #[test]
    fn the_largest_of_no_elements_has_no_bound() {
        let of = |sizes: &[Option<i64>], ty: DataType, axis: i64| {
            let mut values = values(1.0, &[]);
            values.insert("x", Info { bound: 1.0, ty: Some(ty), sizes: Some(sizes.to_vec()), ..Info::unknown() });
            values.insert("axes", Info::constant(&tensor::of_ints("axes", &[axis])));
            largest(&new("ReduceMax", &["x", "axes"], "y"), "ReduceMax", &values)
        };
        assert_eq!(of(&[Some(2), Some(3)], DataType::FLOAT, -1), 1.0);
        assert_eq!(of(&[None, Some(3)], DataType::FLOAT, 1), 1.0);
        assert_eq!(of(&[None, Some(3)], DataType::FLOAT, 0), UNKNOWN);
        assert_eq!(of(&[Some(2), Some(0)], DataType::INT32, 1), UNKNOWN);
        assert_eq!(of(&[None, Some(3)], DataType::INT64, 0), 1.0);
    }
}
