//! Compares a row of a batch with the same row alone.

use super::row_scale::Scales;
use super::rows_touch::RowsTouch;
use crate::nn::model::Model;
use crate::tensor::{Element, Elements, Tensor, TensorType, Tensors};

/// The largest accepted difference, as a share of the absolute value; on accelerators also as a share of the largest value
/// around the element ([`Scales`]). A larger batch changes the order of sums, and accelerators compute with reduced
/// precision (TF32 has 10 bits of mantissa, 2⁻¹⁰ ≈ 0.001).
const TOLERANCE: f64 = 1e-3;
/// The share of the largest value around the element on the CPU, if the graph proves that the rows stay apart.
const TOLERANCE_OF_CPU: f64 = 2e-5;
/// The same for half precision, which has 11 bits: four units in the last place, because a sum that differs a little is
/// rounded to another number.
const TOLERANCE_OF_FP16: f64 = 4.0 / 1024.0;
/// The same for BF16, which has 8 bits.
const TOLERANCE_OF_BF16: f64 = 4.0 / 128.0;
/// The share of the largest absolute value in the row that is always accepted. Sums that cancel have an error of the size of what cancels; FLOAT has 24 bits of mantissa (2⁻²⁴ ≈ 6e-8).
const CANCELLATION: f64 = 2e-6;
/// Absolute difference that is always accepted; for rows of zeros.
const ABSOLUTE: f64 = 1e-6;

/// How much the elements of a row may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// The graph does not prove that the rows stay apart.
    Unproven,
    /// The graph proves it, and one library computes the model on the CPU.
    Cpu,
    /// The graph proves it, and an accelerator may compute the model.
    Accelerator,
}

impl Strictness {
    pub(super) fn of(model: &dyn Model, is_proven: bool) -> Self {
        match is_proven {
            false => Strictness::Unproven,
            true if model.properties().placement.is_empty() => Strictness::Cpu,
            true => Strictness::Accelerator,
        }
    }
}

/// Compares a row of a batch with the row alone. Integers and booleans must be equal: a tolerance for numbers with a
/// fraction would accept another class, another token, or another position.
///
/// # Errors
/// The first output with a difference, and its largest difference.
pub(super) fn compare(
    alone: &Tensors,
    together: &Tensors,
    place: usize,
    rows: u32,
    strictness: Strictness,
) -> Result<(), RowsTouch> {
    for ((name, one), (_, all)) in alone.iter().zip(together) {
        let shape = |tensor: &Tensor, rows: u32| RowsTouch::Shape {
            output: name.clone(),
            shape: tensor.dimensions.clone(),
            rows,
        };
        if one.dimensions.first() != Some(&1) {
            return Err(shape(one, 1));
        }
        if all.dimensions.first() != Some(&rows) || all.dimensions[1..] != one.dimensions[1..] || all.ty != one.ty {
            return Err(shape(all, rows));
        }
        // On the CPU, most rows are equal to the last bit.
        let length = one.data.len();
        if length == 0 || all.data.get(place * length..(place + 1) * length) == Some(&one.data[..]) {
            continue;
        }
        let (row, all) = (Elements::of(one), Elements::of(all));
        let worst = worst(&row, &one.dimensions[1..], &all, place * row.len(), strictness);
        if let Some((difference, alone, together)) = worst {
            let (output, row) = (name.clone(), place as u32);
            return Err(RowsTouch::Value { output, row, rows, difference, alone, together });
        }
    }
    Ok(())
}

/// The largest difference that is not accepted, and its two elements. The row begins at element `start` of `all`.
fn worst(
    one: &Elements<'_>,
    dimensions: &[u32],
    all: &Elements<'_>,
    start: usize,
    strictness: Strictness,
) -> Option<(f64, Element, Element)> {
    let Tolerances { of_value, of_scale, of_row, absolute } = Tolerances::of(one.ty(), strictness);
    let scales = Scales::of(one, dimensions);
    let mut worst: Option<(f64, Element, Element)> = None;
    for index in 0..one.len() {
        let (alone, together) = (one.get(index), all.get(start + index));
        // NaN on one side only gives a difference of NaN, which is not accepted.
        let difference = alone.difference(together);
        let size = alone.as_f64().abs().max(together.as_f64().abs());
        let of_others = (scales.at(index) * of_scale).max(scales.whole * of_row);
        // An infinite number and another one differ by infinity, which no tolerance allows.
        let is_close = difference.is_finite() && difference <= size * of_value + of_others + absolute;
        let is_accepted = difference == 0.0 || is_close;
        let is_worse = worst.is_none_or(|(most, ..)| difference.is_nan() || difference > most);
        if !is_accepted && is_worse {
            worst = Some((difference, alone, together));
        }
    }
    worst
}

/// What may differ: a share of the value, of the largest value around it, and of the largest value in the row. A sum that
/// cancels has an error of the size of what cancels, in the precision of the type.
struct Tolerances {
    of_value: f64,
    of_scale: f64,
    of_row: f64,
    absolute: f64,
}

impl Tolerances {
    fn of(ty: TensorType, strictness: Strictness) -> Self {
        let half = |share| Tolerances { of_value: share, of_scale: share, of_row: CANCELLATION, absolute: ABSOLUTE };
        match (ty, strictness) {
            (TensorType::Fp16, _) => half(TOLERANCE_OF_FP16),
            (TensorType::Bf16, _) => half(TOLERANCE_OF_BF16),
            (TensorType::Fp32 | TensorType::Fp64, _) => {
                let of_scale = match strictness {
                    Strictness::Unproven => CANCELLATION,
                    Strictness::Cpu => TOLERANCE_OF_CPU,
                    Strictness::Accelerator => TOLERANCE,
                };
                Tolerances { of_value: TOLERANCE, of_scale, of_row: CANCELLATION, absolute: ABSOLUTE }
            }
            // Integers and booleans.
            _ => Tolerances { of_value: 0.0, of_scale: 0.0, of_row: 0.0, absolute: 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for one row with two elements, of which the second is `b` alone and `a` in the batch.
    fn compared(ty: TensorType, a: &[u8], b: &[u8]) -> Option<String> {
        let tensor = |last: &[u8]| {
            let data = [vec![0; ty.size().expect("fixed")], last.to_vec()].concat();
            vec![("y".to_owned(), Tensor::new(vec![1, 2], ty, data))]
        };
        let refused = |how| compare(&tensor(b), &tensor(a), 0, 1, how).err().map(|error| error.to_string());
        for other in [Strictness::Unproven, Strictness::Accelerator] {
            assert_eq!(refused(Strictness::Cpu).is_some(), refused(other).is_some(), "{ty}");
        }
        refused(Strictness::Cpu)
    }

    #[test]
    fn integers_and_booleans_must_be_equal() {
        let of = |ty: TensorType, number: i64| number.to_le_bytes()[..ty.size().expect("fixed")].to_vec();
        for (ty, number) in [
            (TensorType::Bool, 0),
            (TensorType::U8, 254),
            (TensorType::I8, 126),
            (TensorType::I16, 30_000),
            (TensorType::U16, 60_000),
            (TensorType::I32, 1_000_000),
            (TensorType::U32, 4_000_000_000),
            (TensorType::I64, 1 << 53),
            (TensorType::U64, i64::MAX - 1),
        ] {
            assert_eq!(compared(ty, &of(ty, number), &of(ty, number)), None, "{ty}");
            let error = compared(ty, &of(ty, number + 1), &of(ty, number)).expect("differs");
            let text = format!("differs by 1 in a batch of 1 rows (value {} instead of {number})", number + 1);
            assert!(error.contains(&text), "{error}");
        }
    }

    #[test]
    fn numbers_with_a_fraction_may_be_rounded_differently() {
        let double = |number: f64| number.to_le_bytes();
        assert_eq!(compared(TensorType::Fp64, &double(1e300), &double(1e300 * (1.0 + 1e-6))), None);
        let error = compared(TensorType::Fp64, &double(2e300), &double(1e300)).expect("not infinite in FP64");
        assert!(error.contains("value 2000000"), "{error}");
        let float = |number: f32| number.to_le_bytes();
        assert_eq!(compared(TensorType::Fp32, &float(0.1), &float(0.100_001)), None);
        let error = compared(TensorType::Fp32, &float(0.2), &float(0.1)).expect("differs");
        assert!(error.contains("(value 0.2 instead of 0.1)"), "{error}");
        assert!(compared(TensorType::Fp32, &float(f32::NAN), &float(0.1)).is_some());
        assert_eq!(compared(TensorType::Fp32, &float(f32::NAN), &float(f32::NAN)), None);
        assert_eq!(compared(TensorType::Fp32, &float(f32::INFINITY), &float(f32::INFINITY)), None);
        assert!(compared(TensorType::Fp32, &float(f32::INFINITY), &float(0.1)).is_some());
        assert!(compared(TensorType::Fp32, &float(f32::INFINITY), &float(f32::NEG_INFINITY)).is_some());
    }
}
