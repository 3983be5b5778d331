//! The rows with which a model is checked. They differ in level, range and sign as well as in detail, because a model can be
//! insensitive to one kind of input: an activation may set all positive or all negative values to 0.

use std::panic::{AssertUnwindSafe, catch_unwind};

use half::{bf16, f16};

use super::rows_touch::RowsTouch;
use crate::nn::error::RunError;
use crate::nn::model::{Model, Signature};
use crate::tensor::{Tensor, TensorType, Tensors, join_strings};

/// Sizes that are tried for dynamic dimensions other than the batch axis, until the model runs: usual sizes of images, then
/// small ones.
const SIZES: [u32; 10] = [224, 64, 32, 16, 8, 4, 2, 1, 320, 640];
/// The same for models without images.
const LENGTHS: [u32; 7] = [16, 8, 64, 4, 2, 1, 224];
/// The rows if the graph of the model proves that they stay apart.
pub(super) const PROVEN: u32 = 8;
/// The rows if it does not. Those after [`PROVEN`] have extreme numbers.
pub(super) const UNPROVEN: u32 = 18;
/// The most bytes of an input with a fixed number of rows.
const MOST_BYTES: usize = 1 << 30;

/// The size of the other dynamic dimensions with which the model runs, and the result of the first row.
pub(in crate::nn) fn find_size(model: &dyn Model, inputs: &[Signature]) -> Result<(u32, Tensors), RowsTouch> {
    let is_dynamic = inputs.iter().any(|input| match &input.shape {
        Some(shape) => shape.iter().skip(1).any(Option::is_none),
        None => true,
    });
    let has_images = inputs.iter().any(|input| input.shape.as_ref().is_none_or(|shape| shape.len() > 2));
    let sizes = if has_images { &SIZES[..] } else { &LENGTHS[..] };
    let mut first_error = None;
    for &size in if is_dynamic { sizes } else { &sizes[..1] } {
        match run(model, &single(inputs, size, 0)) {
            Ok(outputs) => return Ok((size, outputs)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(RowsTouch::Run(first_error.unwrap_or(RunError::Ended)))
}

pub(super) fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Tensors, RunError> {
    catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or(Err(RunError::Panicked))
}

/// The inputs of one run with a row of a fixed sequence of rows. An input with a fixed number of rows has it as often, and a
/// scalar has no dimension for rows. An input that would be too large has one row, which the model refuses.
pub(in crate::nn) fn single(inputs: &[Signature], size: u32, row: u32) -> Vec<Tensor> {
    let mut tensors = batch(inputs, size, &[row]);
    let fits = |row: usize, rows: u32| row.checked_mul(rows as usize).is_some_and(|bytes| bytes <= MOST_BYTES);
    for (tensor, input) in tensors.iter_mut().zip(inputs) {
        match input.shape.as_deref() {
            Some([]) => tensor.dimensions.clear(),
            Some([Some(rows), ..]) if *rows != 1 && fits(tensor.data.len(), *rows) => {
                let mut dimensions = tensor.dimensions.clone();
                dimensions[0] = *rows;
                *tensor = Tensor::new(dimensions, tensor.ty, tensor.data.repeat(*rows as usize));
            }
            _ => {}
        }
    }
    tensors
}

/// The inputs of a batch: the given rows of a fixed sequence of rows.
pub(super) fn batch(inputs: &[Signature], size: u32, rows: &[u32]) -> Vec<Tensor> {
    inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            // An input without a declared shape is treated as an image.
            let others: Vec<u32> = match &input.shape {
                Some(shape) => shape.iter().skip(1).map(|known| known.unwrap_or(size)).collect(),
                None => vec![3, size, size],
            };
            let elements: u32 = others.iter().product();
            let ty = input.types.first().copied().unwrap_or(TensorType::Fp32);
            let mut data = Vec::with_capacity(rows.len() * elements as usize * ty.size().unwrap_or(8));
            for &row in rows {
                let mut random = Random::for_row(row, index);
                (0..elements).for_each(|element| value(&mut data, ty, row, element, random.next()));
            }
            let dimensions = [rows.len() as u32].into_iter().chain(others).collect();
            Tensor::new(dimensions, ty, data)
        })
        .collect()
}

/// Reproducible numbers (Marsaglia, "Xorshift RNGs", 2003).
pub(super) struct Random(u32);

impl Random {
    pub(super) fn for_row(row: u32, input: usize) -> Self {
        let row = same_as(row);
        Random(0x9E37_79B9 ^ (row + 1).wrapping_mul(0x85EB_CA6B) ^ (input as u32 + 1).wrapping_mul(0xC2B2_AE35))
    }

    /// The next number from 0 to 1.
    pub(super) fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }
}

/// True for a row that a model may refuse.
pub(super) fn is_optional(row: u32) -> bool {
    row >= PROVEN
}

/// The row of which this one is a copy, or the row itself.
fn same_as(row: u32) -> u32 {
    if row == 17 { 1 } else { row }
}

/// Adds one element of a row; `uniform` is a random number from 0 to 1.
fn value(data: &mut Vec<u8>, ty: TensorType, row: u32, element: u32, uniform: f32) {
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
        TensorType::Bytes => data.extend(join_strings(&[integer.to_string()]).unwrap_or_default()),
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
