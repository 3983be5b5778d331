//! The rows with which a model is checked. They differ in level, range and sign as well as in detail, because a model can be
//! insensitive to one kind of input: an activation may set all positive or all negative values to 0.

use half::{bf16, f16};

use crate::tensor::TensorType;

/// The rows if the graph of the model proves that they stay apart.
pub(super) const PROVEN: u32 = 8;
/// The rows if it does not. Those after [`PROVEN`] have extreme numbers.
pub(super) const UNPROVEN: u32 = 18;

/// True for a row that a model may refuse.
pub(super) fn is_optional(row: u32) -> bool {
    row >= PROVEN
}

/// The row of which this one is a copy, or the row itself.
pub(super) fn same_as(row: u32) -> u32 {
    if row == 17 { 1 } else { row }
}

/// Adds one element of a row; `uniform` is a random number from 0 to 1.
pub(super) fn value(data: &mut Vec<u8>, ty: TensorType, row: u32, element: u32, uniform: f32) {
    let row = same_as(row);
    let number = number(row, element, uniform);
    let integer = integer(row, uniform);
    match ty {
        TensorType::Fp32 => data.extend(number.to_le_bytes()),
        TensorType::Fp64 => data.extend(f64::from(number).to_le_bytes()),
        TensorType::Bf16 => data.extend(bf16::from_f32(number).to_le_bytes()),
        TensorType::Fp16 => data.extend(f16::from_f32(number).to_le_bytes()),
        TensorType::Bool => data.push(u8::from(integer % 2 != 0)),
        // Numbers up to 1 use the whole range of a byte; the casts saturate.
        TensorType::U8 => data.push(if number.abs() <= 1.0 { number.abs() * 255.0 } else { number } as u8),
        TensorType::I8 => data.extend((if number.abs() <= 1.0 { number * 127.0 } else { number } as i8).to_le_bytes()),
        TensorType::I16 => data.extend((integer.clamp(i16::MIN.into(), i16::MAX.into()) as i16).to_le_bytes()),
        TensorType::U16 => data.extend((integer.clamp(0, u16::MAX.into()) as u16).to_le_bytes()),
        TensorType::I32 => data.extend(integer.to_le_bytes()),
        TensorType::U32 => data.extend(integer.max(0).to_le_bytes()),
        TensorType::I64 => data.extend(i64::from(integer).to_le_bytes()),
        TensorType::U64 => data.extend(i64::from(integer.max(0)).to_le_bytes()),
    }
}

fn number(row: u32, element: u32, uniform: f32) -> f32 {
    match row {
        0 => uniform,
        1 => 4.0 * uniform - 2.0,
        2 => 0.9 + 0.1 * uniform,
        3 => 0.6,
        4 => -3.0 * uniform,
        5 => 255.0 * uniform,
        // Mostly zeros.
        6 if uniform < 0.75 => 0.0,
        6 => 40.0 * (uniform - 0.875),
        7 => 0.5 * uniform - 0.25,
        8 => 2e4 * uniform - 1e4,
        9 => 1e6 * uniform,
        10 => -100.0 - 100.0 * uniform,
        11 => -1e6 * uniform,
        12 if element == 0 => f32::INFINITY,
        13 if element == 0 => f32::NAN,
        14 => 1e-3 * uniform,
        15 => 1e30 * uniform,
        16 => -1e30 * uniform,
        _ => uniform,
    }
}

/// The first rows have 0 and 1, which are valid as indices, flags and labels.
fn integer(row: u32, uniform: f32) -> i32 {
    let below = |limit: f32| (uniform * limit) as i32;
    match row {
        8 => below(8.0),
        9 => below(100.0),
        10 => below(1_000.0),
        11 => -below(100.0),
        14 => below(30_000.0),
        15 => below(2e9),
        16 => -below(2e9),
        _ => below(2.0),
    }
}
