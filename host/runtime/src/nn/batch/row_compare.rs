//! Compares a row of a batch with the same row alone.

use super::rows_touch::RowsTouch;
use crate::tensor::{Element, Elements, Tensor, TensorType, Tensors};

/// The largest accepted difference, as a share of the absolute value. A larger batch changes the order of sums, and
/// accelerators compute with reduced precision (TF32 has 10 bits of mantissa, 2⁻¹⁰ ≈ 0.001).
const TOLERANCE: f64 = 1e-3;
/// The same for half precision, which has 11 bits: four units in the last place, because a sum that differs a little is
/// rounded to another number.
const TOLERANCE_OF_FP16: f64 = 4.0 / 1024.0;
/// The same for BF16, which has 8 bits.
const TOLERANCE_OF_BF16: f64 = 4.0 / 128.0;
/// The share of the largest absolute value in the row that is accepted too, if the graph does not prove that the rows stay
/// apart. Sums that cancel have an error of the size of what cancels; FLOAT has 24 bits of mantissa (2⁻²⁴ ≈ 6e-8).
const CANCELLATION: f64 = 2e-6;
/// Absolute difference that is always accepted; for rows of zeros.
const ABSOLUTE: f64 = 1e-6;

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
    is_proven: bool,
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
        let one = Elements::of(one);
        if let Some((difference, alone, together)) = worst(&one, &Elements::of(all), place * one.len(), is_proven) {
            let (output, row) = (name.clone(), place as u32);
            return Err(RowsTouch::Value { output, row, rows, difference, alone, together });
        }
    }
    Ok(())
}

/// The largest difference that is not accepted, and its two elements. The row begins at element `start` of `all`.
fn worst(one: &Elements<'_>, all: &Elements<'_>, start: usize, is_proven: bool) -> Option<(f64, Element, Element)> {
    let finite = (0..one.len()).map(|index| one.get(index).as_f64().abs()).filter(|size| size.is_finite());
    let (tolerance, cancellation) = tolerances(one.ty());
    let of_largest = match tolerance {
        0.0 => 0.0,
        _ => finite.fold(0.0, f64::max) * if is_proven { tolerance } else { cancellation } + ABSOLUTE,
    };
    let mut worst: Option<(f64, Element, Element)> = None;
    for index in 0..one.len() {
        let (alone, together) = (one.get(index), all.get(start + index));
        // NaN on one side only gives a difference of NaN, which is not accepted.
        let difference = alone.difference(together);
        let size = alone.as_f64().abs().max(together.as_f64().abs());
        let is_accepted = difference == 0.0 || difference <= size * tolerance + of_largest;
        let is_worse = worst.is_none_or(|(most, ..)| difference.is_nan() || difference > most);
        if !is_accepted && is_worse {
            worst = Some((difference, alone, together));
        }
    }
    worst
}

/// The shares of a value and of the largest value in the row that may differ. A sum that cancels has an error of the size
/// of what cancels, in the precision of the type.
fn tolerances(ty: TensorType) -> (f64, f64) {
    match ty {
        TensorType::Fp16 => (TOLERANCE_OF_FP16, TOLERANCE_OF_FP16),
        TensorType::Bf16 => (TOLERANCE_OF_BF16, TOLERANCE_OF_BF16),
        TensorType::Fp32 | TensorType::Fp64 => (TOLERANCE, CANCELLATION),
        // Integers and booleans.
        _ => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for one row with two elements, of which the second is `b` alone and `a` in the batch.
    fn compared(ty: TensorType, a: &[u8], b: &[u8]) -> Option<String> {
        let tensor = |last: &[u8]| {
            let data = [vec![0; ty.size()], last.to_vec()].concat();
            vec![("y".to_owned(), Tensor::new(vec![1, 2], ty, data))]
        };
        let refused = |is_proven| compare(&tensor(b), &tensor(a), 0, 1, is_proven).err().map(|error| error.to_string());
        assert_eq!(refused(true).is_some(), refused(false).is_some(), "{ty}");
        refused(true)
    }

    #[test]
    fn integers_and_booleans_must_be_equal() {
        let of = |ty: TensorType, number: i64| number.to_le_bytes()[..ty.size()].to_vec();
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
    }
}
