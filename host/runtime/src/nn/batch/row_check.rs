//! Checks at admission that the rows of a batch do not depend on each other, so that no caller's answer depends on who
//! else is in the batch.
//!
//! The check runs rows that differ alone and together, in both orders and in batches of several sizes, and compares. A
//! model that mixes rows (a normalisation over the batch, a suppression of boxes across images) is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::nn::model::{Model, RunError, Signature};
use crate::tensor::{Tensor, TensorType, Tensors};

/// The largest accepted difference, as a share of the largest absolute value in the row. A larger batch changes the order
/// of sums, and accelerators compute with reduced precision (TF32 has 10 bits of mantissa, 2⁻¹⁰ ≈ 0.001).
const TOLERANCE: f32 = 1e-3;
/// Absolute difference that is always accepted; for rows of zeros.
const ABSOLUTE: f32 = 1e-6;
/// Sizes that are tried for dynamic dimensions other than the batch axis, until the model runs: usual sizes of images, then
/// small ones.
const SIZES: [u32; 10] = [224, 64, 32, 16, 8, 4, 2, 1, 320, 640];
/// The rows of the check, one for each pattern of [`Random::value`]. Larger batches need memory and time, and show
/// nothing new.
const ROWS: u32 = 8;

/// Why runs of a model cannot be combined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowsTouch {
    /// A value of a row differs in a batch.
    #[error(
        "`max_batch` cannot be used: output `{output}` of row {row} differs by {difference} in a batch of {rows} rows \
         (value {together} instead of {alone}), so the rows depend on each other: remove `max_batch`, or export the model \
         without operators that mix the rows of a batch"
    )]
    Value {
        /// The output's name.
        output: String,
        /// The row in the batch.
        row: u32,
        /// The rows of the batch.
        rows: u32,
        /// The largest difference.
        difference: f32,
        /// The value without other rows.
        alone: f32,
        /// The value in the batch.
        together: f32,
    },
    /// An output does not have one row for each row of the inputs.
    #[error(
        "`max_batch` cannot be used: output `{output}` has the shape {shape:?} for {rows} rows, so it has no batch axis: \
         remove `max_batch`, or export the model with a dynamic batch axis for every output"
    )]
    Shape {
        /// The output's name.
        output: String,
        /// Its shape.
        shape: Vec<u32>,
        /// The rows of the inputs.
        rows: u32,
    },
    /// The model does not run with inputs that fit its signature.
    #[error(
        "`max_batch` cannot be used: the check of its rows needs a run of the model, which failed ({0}): export the model \
         with fixed sizes for all dimensions except the first, or remove `max_batch`"
    )]
    Run(RunError),
    /// A batch fails, but its rows run alone.
    #[error("`max_batch` cannot be used: a batch of {rows} rows fails ({error}): remove `max_batch`")]
    Batch {
        /// The rows of the batch.
        rows: u32,
        /// The backend's error.
        error: RunError,
    },
}

/// Runs rows alone and in batches, and compares.
///
/// # Errors
/// The output, the row and the difference.
pub fn check_rows(model: &dyn Model, max_batch: u32) -> Result<(), RowsTouch> {
    let inputs = model.inputs();
    let (size, first) = find_size(model, inputs)?;
    let mut alone = vec![first];
    for row in 1..ROWS {
        alone.push(run(model, &batch(inputs, size, &[row])).map_err(RowsTouch::Run)?);
    }
    let forwards: Vec<u32> = (0..ROWS).collect();
    let backwards: Vec<u32> = forwards.iter().rev().copied().collect();
    let most = max_batch.min(ROWS) as usize;
    for order in [&forwards, &backwards] {
        for rows in order.chunks(2).chain([&order[..most]]) {
            let count = rows.len() as u32;
            let together =
                run(model, &batch(inputs, size, rows)).map_err(|error| RowsTouch::Batch { rows: count, error })?;
            for (place, &row) in rows.iter().enumerate() {
                compare(&alone[row as usize], &together, place, count)?;
            }
        }
    }
    Ok(())
}

/// The size of the other dynamic dimensions with which the model runs, and the result of the first row.
fn find_size(model: &dyn Model, inputs: &[Signature]) -> Result<(u32, Tensors), RowsTouch> {
    let is_dynamic = inputs.iter().any(|input| match &input.shape {
        Some(shape) => shape.iter().skip(1).any(Option::is_none),
        None => true,
    });
    let mut first_error = None;
    for &size in if is_dynamic { &SIZES[..] } else { &SIZES[..1] } {
        match run(model, &batch(inputs, size, &[0])) {
            Ok(outputs) => return Ok((size, outputs)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(RowsTouch::Run(first_error.unwrap_or(RunError::Ended)))
}

fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Tensors, RunError> {
    catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or(Err(RunError::Panicked))
}

/// The inputs of a batch: the given rows of a fixed sequence of rows.
fn batch(inputs: &[Signature], size: u32, rows: &[u32]) -> Vec<Tensor> {
    inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            // An input without a declared shape is taken for an image.
            let others: Vec<u32> = match &input.shape {
                Some(shape) => shape.iter().skip(1).map(|known| known.unwrap_or(size)).collect(),
                None => vec![3, size, size],
            };
            let elements: u32 = others.iter().product();
            let ty = input.types.first().copied().unwrap_or(TensorType::Fp32);
            let mut data = Vec::with_capacity(rows.len() * elements as usize * ty.size());
            for &row in rows {
                let mut random = Random::for_row(row, index);
                (0..elements).for_each(|_| push(&mut data, ty, random.value(row)));
            }
            let dimensions = [rows.len() as u32].into_iter().chain(others).collect();
            Tensor::new(dimensions, ty, data)
        })
        .collect()
}

/// Adds one element. Integers are 0 or 1, which are valid as indices, flags and labels.
fn push(data: &mut Vec<u8>, ty: TensorType, value: f32) {
    match ty {
        TensorType::Fp32 => data.extend(value.to_le_bytes()),
        TensorType::Fp64 => data.extend(f64::from(value).to_le_bytes()),
        TensorType::Bf16 => data.extend(((value.to_bits() >> 16) as u16).to_le_bytes()),
        // Half precision: 0 or 1.
        TensorType::Fp16 => data.extend(if value < 0.5 { 0u16 } else { 0x3C00 }.to_le_bytes()),
        // Numbers up to 1 use the whole range of a byte; the cast saturates.
        TensorType::U8 => data.push(if value.abs() <= 1.0 { value.abs() * 255.0 } else { value } as u8),
        TensorType::I32 => data.extend(i32::from(value >= 0.5).to_le_bytes()),
        TensorType::I64 => data.extend(i64::from(value >= 0.5).to_le_bytes()),
    }
}

/// Reproducible numbers (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u32);

impl Random {
    fn for_row(row: u32, input: usize) -> Self {
        Random(0x9E37_79B9 ^ (row + 1).wrapping_mul(0x85EB_CA6B) ^ (input as u32 + 1).wrapping_mul(0xC2B2_AE35))
    }

    /// The next number. Rows differ in level, range and sign as well as in detail, because a model can be insensitive to
    /// one kind of input: an activation may set all positive or all negative values to 0.
    fn value(&mut self, row: u32) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        let uniform = (self.0 >> 8) as f32 / (1 << 24) as f32;
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
            _ => 0.5 * uniform - 0.25,
        }
    }
}

/// Compares a row of a batch with the row alone.
fn compare(alone: &Tensors, together: &Tensors, place: usize, rows: u32) -> Result<(), RowsTouch> {
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
        let bytes = one.data.len();
        let (one, all) = (numbers(one.ty, &one.data), numbers(one.ty, &all.data[place * bytes..][..bytes]));
        let largest = one.iter().filter(|value| value.is_finite()).fold(0.0, |most: f32, value| most.max(value.abs()));
        let allowed = largest * TOLERANCE + ABSOLUTE;
        let mut worst = (0.0, 0.0, 0.0);
        for (&alone, &together) in one.iter().zip(&all) {
            let same = alone == together || alone.is_nan() && together.is_nan();
            let difference = if same { 0.0 } else { (alone - together).abs() };
            // NaN on one side only gives a difference of NaN, which is not accepted.
            if difference.is_nan() || difference > worst.0 {
                worst = (difference, alone, together);
            }
        }
        let (difference, alone, together) = worst;
        if difference.is_nan() || difference > allowed {
            let (output, row) = (name.clone(), place as u32);
            return Err(RowsTouch::Value { output, row, rows, difference, alone, together });
        }
    }
    Ok(())
}

/// The elements as numbers. Types that no backend returns compare by their bytes.
fn numbers(ty: TensorType, bytes: &[u8]) -> Vec<f32> {
    match ty {
        TensorType::Fp32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        TensorType::Fp64 => bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
        TensorType::I32 => bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes) as f32).collect(),
        TensorType::I64 => bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
        TensorType::U8 | TensorType::Fp16 | TensorType::Bf16 => bytes.iter().map(|&byte| f32::from(byte)).collect(),
    }
}
