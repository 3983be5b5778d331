//! Computes small constants that follow from other constants, as exporters write them: `Sqrt(64)`, `Cast(2)`. Integers are
//! computed as ONNX's types say, or not at all: what a rule concludes from them must be true for the engine.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{Attributes, Edit};
use crate::types::{Info, Values};

/// Larger integers are not exact in the numbers that constants are kept in.
const LARGEST_EXACT: i128 = 1 << 53;

/// The elements of the first output of an elementwise node whose inputs are small constants.
pub(crate) fn elements(node: &NodeProto, operator: &str, values: &Values) -> Option<Vec<f64>> {
    let left = values.get(node.input(0)?)?;
    match node.input.len() {
        1 => left.constant.as_deref()?.iter().map(|&value| of_one(node, operator, left.ty?, value)).collect(),
        2 => of_two(operator, left, values.get(node.input(1)?)?),
        _ => None,
    }
}

fn of_one(node: &NodeProto, operator: &str, ty: DataType, value: f64) -> Option<f64> {
    if operator == "Cast" {
        let to = node.int("to").and_then(|to| i32::try_from(to).ok()).map(DataType)?;
        return match to {
            DataType::INT64 | DataType::INT32 => in_range(value.trunc(), to),
            DataType::FLOAT => Some(f64::from(value as f32)),
            _ => None,
        };
    }
    if is_integer(ty) {
        return match operator {
            "Abs" => in_range(value.abs(), ty),
            "Neg" => in_range(-value, ty),
            _ => None,
        };
    }
    let result = match operator {
        "Abs" => value.abs(),
        "Neg" => -value,
        "Exp" => f64::from((value as f32).exp()),
        "Log" => f64::from((value as f32).ln()),
        "Reciprocal" => f64::from((1.0 / value) as f32),
        "Sqrt" => f64::from(value.sqrt() as f32),
        _ => return None,
    };
    is_fraction(ty).then_some(result)
}

fn of_two(operator: &str, left: &Info, right: &Info) -> Option<Vec<f64>> {
    let (ty, of_right) = (left.ty?, right.ty?);
    let compute = |left: f64, right: f64| match () {
        () if is_integer(ty) && ty == of_right =>
        {
            #[expect(clippy::cast_precision_loss, reason = "the result is less than 2^53")]
            in_range(integer(operator, whole(left)?, whole(right)?)? as f64, ty)
        }
        () if is_fraction(ty) && ty == of_right => {
            let result = match operator {
                "Add" => left + right,
                "Sub" => left - right,
                "Mul" => left * right,
                "Div" => left / right,
                "Pow" => left.powf(right),
                _ => return None,
            };
            Some(if ty == DataType::FLOAT { f64::from(result as f32) } else { result })
        }
        () => None,
    };
    match (left.constant.as_deref()?, right.constant.as_deref()?) {
        ([one], many) => many.iter().map(|&other| compute(*one, other)).collect(),
        (many, [one]) => many.iter().map(|&other| compute(other, *one)).collect(),
        // As many elements are not the same shape: [2, 1] and [1, 2] give four.
        (many, others) if many.len() == others.len() && have_same_shape(left, right) => {
            many.iter().zip(others).map(|(&left, &right)| compute(left, right)).collect()
        }
        _ => None,
    }
}

fn have_same_shape(left: &Info, right: &Info) -> bool {
    let is_known = |info: &Info| info.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(Option::is_some));
    is_known(left) && left.sizes == right.sizes || (left.rank, right.rank) == (Some(1), Some(1))
}

fn integer(operator: &str, left: i128, right: i128) -> Option<i128> {
    match operator {
        "Add" => left.checked_add(right),
        "Sub" => left.checked_sub(right),
        "Mul" => left.checked_mul(right),
        // Both round towards 0. There is no quotient by 0.
        "Div" => left.checked_div(right),
        "Pow" => left.checked_pow(u32::try_from(right).ok()?),
        _ => None,
    }
}

/// A number that is kept exactly as an integer.
fn whole(value: f64) -> Option<i128> {
    let is_exact = value.fract() == 0.0 && value.abs() < LARGEST_EXACT as f64;
    is_exact.then_some(value as i128)
}

/// An integer if its type has it: others would wrap, or are not defined.
fn in_range(value: f64, ty: DataType) -> Option<f64> {
    let number = whole(value)?;
    let fits = ty == DataType::INT64 || i32::try_from(number).is_ok();
    fits.then_some(value)
}

fn is_integer(ty: DataType) -> bool {
    matches!(ty, DataType::INT32 | DataType::INT64)
}

fn is_fraction(ty: DataType) -> bool {
    matches!(ty, DataType::FLOAT | DataType::DOUBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(ty: DataType, sizes: &[i64], elements: &[f64]) -> Info {
        Info {
            sizes: Some(sizes.iter().map(|&size| Some(size)).collect()),
            constant: Some(elements.to_vec()),
            ..Info::of_type(Some(ty), Some(sizes.len()))
        }
    }

    fn folded(operator: &str, left: Info, right: Option<Info>) -> Option<Vec<f64>> {
        let inputs = if right.is_some() { &["a", "b"][..] } else { &["a"] };
        let mut values = Values::default();
        values.insert("a", left);
        right.into_iter().for_each(|info| values.insert("b", info));
        let node = crate::node::new(operator, inputs, "c").with_int("to", i64::from(DataType::INT32.0));
        elements(&node, operator, &values)
    }

    #[test]
    fn only_what_is_exact_in_the_types_of_onnx_is_computed() {
        use DataType as T;
        let of = |operator: &str, ty: T, left: &[f64], right: &[f64]| {
            let list = |elements: &[f64]| constant(ty, &[elements.len() as i64], elements);
            folded(operator, list(left), Some(list(right)))
        };
        let exact = 9_007_199_254_740_992.0;
        for (operator, ty, left, right, expected) in [
            ("Add", T::INT32, [1.0, 2.0], [3.0, -4.0], Some([4.0, -2.0])),
            ("Div", T::INT64, [-7.0, 9.0], [2.0, -4.0], Some([-3.0, -2.0])),
            ("Pow", T::INT64, [-1.0, 3.0], [3.0, 2.0], Some([-1.0, 9.0])),
            ("Mul", T::INT32, [65_537.0, 5.0], [65_535.0, 1.0], None),
            ("Add", T::INT32, [2_147_483_647.0, 5.0], [1.0, 1.0], None),
            ("Sub", T::INT64, [exact, 5.0], [exact, 1.0], None),
            ("Div", T::INT64, [1.0, 5.0], [0.0, 1.0], None),
            ("Pow", T::INT64, [2.0, 5.0], [-1.0, 1.0], None),
            ("Div", T::FLOAT, [1.0, 3.0], [2.0, 2.0], Some([0.5, 1.5])),
        ] {
            assert_eq!(of(operator, ty, &left, &right), expected.map(Vec::from), "{operator} {left:?} {right:?}");
        }
        // Four elements, not two.
        let (column, row) = (constant(T::INT32, &[2, 1], &[1.0, -3.0]), constant(T::INT32, &[1, 2], &[2.0, 5.0]));
        assert_eq!(folded("Add", column.clone(), Some(row)), None);
        assert_eq!(folded("Add", column.clone(), Some(column.clone())), Some(vec![2.0, -6.0]));
        let one = constant(T::INT32, &[], &[1.0]);
        assert_eq!(folded("Add", column, Some(one)), Some(vec![2.0, -2.0]));
        let cast = |value: f64| folded("Cast", constant(T::INT64, &[1], &[value]), None);
        assert_eq!((cast(-5.0), cast(4_294_967_295.0)), (Some(vec![-5.0]), None));
    }
}
