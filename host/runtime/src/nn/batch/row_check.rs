//! Checks at admission that the rows of a batch do not depend on each other, so that no caller's answer depends on the
//! other callers in the batch.
//!
//! There are two checks. The graph of the model may prove that rows stay apart, or show where they are mixed (the crate
//! `plimsoll-onnx`, module `rows`). In any case rows that differ run alone and together, in both orders and in batches
//! of all sizes, and are compared. A model that mixes rows (a normalisation over the batch, a suppression of boxes across
//! images) is rejected. If the graph proves nothing, the comparison has more rows and is stricter, and the model is
//! accepted only if the administrator says so: no comparison finds every dependence.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use half::{bf16, f16};
use plimsoll_onnx::RowProof;

use super::cost::RunCost;
use super::probe_rows::{PROVEN, UNPROVEN, is_optional, same_as, value};
use crate::nn::error::RunError;
use crate::nn::model::{Model, Signature};
use crate::tensor::{Tensor, TensorType, Tensors};

/// The largest accepted difference, as a share of the absolute value. A larger batch changes the order of sums, and
/// accelerators compute with reduced precision (TF32 has 10 bits of mantissa, 2⁻¹⁰ ≈ 0.001).
const TOLERANCE: f32 = 1e-3;
/// The same for half precision, which has 11 bits: four units in the last place, because a sum that differs a little is
/// rounded to another number.
const TOLERANCE_OF_FP16: f32 = 4.0 / 1024.0;
/// The same for BF16, which has 8 bits.
const TOLERANCE_OF_BF16: f32 = 4.0 / 128.0;
/// The share of the largest absolute value in the row that is accepted too, if the graph does not prove that the rows stay
/// apart. Sums that cancel have an error of the size of what cancels; FLOAT has 24 bits of mantissa (2⁻²⁴ ≈ 6e-8).
const CANCELLATION: f32 = 2e-6;
/// Absolute difference that is always accepted; for rows of zeros.
const ABSOLUTE: f32 = 1e-6;
/// Sizes that are tried for dynamic dimensions other than the batch axis, until the model runs: usual sizes of images, then
/// small ones.
const SIZES: [u32; 10] = [224, 64, 32, 16, 8, 4, 2, 1, 320, 640];
/// The same for models without images.
const LENGTHS: [u32; 7] = [16, 8, 64, 4, 2, 1, 224];
/// The most time for the batches of each size, estimated from the time of one row.
const MAX_TIME: Duration = Duration::from_secs(3);
/// The largest batch of the check. Larger ones need memory and time.
const LARGEST: u32 = 64;
/// All sizes of batches up to this one are tried.
const ALL_SIZES: u32 = 16;
/// The larger sizes that are tried besides primes.
const SAMPLED: u32 = 4;
/// The most bytes of the inputs of a batch of the check, except for one of eight rows.
const MAX_BYTES: usize = 64 << 20;

/// Why runs of a model cannot be combined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowsTouch {
    /// The graph of the model mixes rows.
    #[error(
        "`max_batch` cannot be used: {0}, so one row would change another's answer: remove `max_batch`, or export the \
         model without operators that mix the rows of a batch"
    )]
    Mixed(String),
    /// The graph of the model does not show that its rows stay apart.
    #[error(
        "`max_batch` cannot be used: the graph of the model does not prove that one row never changes another's answer \
         ({0}): remove `max_batch`, or export the model without this operator. If you know that the rows are independent, \
         set `max_batch_unproven = true`; rows are then only compared alone and together"
    )]
    Unproven(String),
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
    /// A batch fails, although each of its rows succeeds alone.
    #[error("`max_batch` cannot be used: a batch of {rows} rows fails ({error}): remove `max_batch`")]
    Batch {
        /// The rows of the batch.
        rows: u32,
        /// The backend's error.
        error: RunError,
    },
}

/// Checks what the graph proves about the rows of a model, runs rows alone and in batches, and compares. Returns what
/// runs cost. With `accepts_unproven`, it is enough that the comparison finds no difference if the graph proves nothing.
///
/// # Errors
/// The output, and the node or the row with the difference.
pub fn check_rows(
    model: &dyn Model,
    max_batch: u32,
    proof: &RowProof,
    accepts_unproven: bool,
) -> Result<RunCost, RowsTouch> {
    let inputs = model.inputs();
    let (size, first) = find_size(model, inputs)?;
    let started = Instant::now();
    let is_proven = *proof == RowProof::Separate;
    let mut cost = RunCost::default();
    let mut timed = |inputs: &[Tensor]| {
        let started = Instant::now();
        let result = run(model, inputs);
        let rows = inputs.first().and_then(|input| input.dimensions.first()).copied().unwrap_or(0);
        if result.is_ok() {
            cost.record_first(rows, started.elapsed());
        }
        result
    };
    let mut alone: Vec<(u32, Tensors)> = vec![(0, first)];
    for row in 1..if is_proven { PROVEN } else { UNPROVEN } {
        match timed(&batch(inputs, size, &[row])) {
            Ok(outputs) => alone.push((row, outputs)),
            // Not every model accepts extreme numbers.
            Err(_) if is_optional(row) => {}
            Err(error) => return Err(RowsTouch::Run(error)),
        }
    }
    let row_time = started.elapsed() / alone.len() as u32;
    let limits = Limits {
        max_batch,
        is_proven,
        pays_for_new_shapes: model.properties().pays_for_new_shapes,
        row_bytes: bytes(&batch(inputs, size, &[0])),
        most_rows: (MAX_TIME.as_micros() / row_time.as_micros().max(1)).min(u128::from(u32::MAX)) as u32,
    };
    let plan = batches(alone.len(), &limits);
    let largest = plan.iter().map(Vec::len).max().unwrap_or(1);
    for rows in plan {
        let count = rows.len() as u32;
        let patterns: Vec<u32> = rows.iter().map(|&row| alone[row].0).collect();
        let together =
            timed(&batch(inputs, size, &patterns)).map_err(|error| RowsTouch::Batch { rows: count, error })?;
        for (place, &row) in rows.iter().enumerate() {
            compare(&alone[row].1, &together, place, count, is_proven)?;
        }
    }
    // This comes last, because a measured difference is a better explanation.
    match proof {
        RowProof::Mixed(why) => Err(RowsTouch::Mixed(why.clone())),
        RowProof::Separate => Ok(cost),
        RowProof::Unknown(why) if !accepts_unproven => Err(RowsTouch::Unproven(why.clone())),
        RowProof::Unknown(why) => {
            tracing::warn!(
                "`max_batch_unproven`: the graph of the model does not prove that its rows are independent ({why}); a \
                 comparison of {} rows in batches of at most {largest} found no difference",
                alone.len(),
            );
            Ok(cost)
        }
    }
}

fn bytes(inputs: &[Tensor]) -> usize {
    inputs.iter().map(|input| input.data.len()).sum()
}

/// What limits the batches of the check.
struct Limits {
    max_batch: u32,
    is_proven: bool,
    /// True if every new size costs time and memory. Such a model runs in its prepared sizes only, and each of them is
    /// compared when it is prepared.
    pays_for_new_shapes: bool,
    /// The bytes of the inputs of one row.
    row_bytes: usize,
    /// The rows that can be computed in the time of the check, estimated from single rows.
    most_rows: u32,
}

/// The batches of the check, each as places in a list of `rows` rows: pairs in both orders and a batch of each size; if
/// the graph proves nothing, each row also with the first.
fn batches(rows: usize, limits: &Limits) -> Vec<Vec<usize>> {
    let forwards: Vec<usize> = (0..rows).collect();
    let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
    let most = (limits.max_batch as usize).min(PROVEN as usize).min(rows);
    let mut batches = Vec::new();
    for order in [&forwards, &backwards] {
        batches.extend(order.chunks(2).map(<[usize]>::to_vec));
        batches.push(order[..most].to_vec());
    }
    if !limits.is_proven {
        batches.extend((1..rows).map(|row| vec![0, row]));
    }
    // Other rows in each size.
    batches.extend(
        sizes(limits).into_iter().map(|size| (0..size as usize).map(|at| (size as usize + at) % rows).collect()),
    );
    batches
}

/// The sizes of batches to try. A model, or a library that chooses another algorithm for each size, may be wrong in a
/// single one: all sizes up to 16 are tried; of the larger ones the primes, some others, and the largest.
fn sizes(limits: &Limits) -> Vec<u32> {
    let max = limits.max_batch;
    if limits.pays_for_new_shapes && limits.is_proven {
        return Vec::new();
    }
    let mut sizes: Vec<u32> = (1..=max.min(ALL_SIZES)).collect();
    let is_prime =
        |size: u32| (2..size).take_while(|factor| factor * factor <= size).all(|factor| !size.is_multiple_of(factor));
    sizes.extend((ALL_SIZES + 1..=max.min(LARGEST)).filter(|&size| is_prime(size)));
    if max > ALL_SIZES {
        let mut random = Random::for_row(max, 0);
        let between = max.min(LARGEST) - ALL_SIZES;
        sizes.extend((0..SAMPLED).map(|_| ALL_SIZES + 1 + (random.next() * between as f32) as u32 % between));
        sizes.push(max.min(LARGEST));
    }
    sizes.sort_unstable();
    sizes.dedup();
    // One batch of eight rows is always possible.
    let fitting = (MAX_BYTES / limits.row_bytes.max(1)).max(PROVEN as usize) as u32;
    // Where the graph proves nothing, all small sizes are tried, however long that takes.
    let always = if limits.is_proven { PROVEN } else { ALL_SIZES };
    let mut left = limits.most_rows;
    sizes.retain(|&size| {
        let has_time = size <= left;
        left -= if has_time { size } else { 0 };
        size <= fitting && (has_time || size <= always)
    });
    sizes
}

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
        match run(model, &batch(inputs, size, &[0])) {
            Ok(outputs) => return Ok((size, outputs)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(RowsTouch::Run(first_error.unwrap_or(RunError::Ended)))
}

pub(super) fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Tensors, RunError> {
    catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or(Err(RunError::Panicked))
}

/// One input of a batch: the given rows of a fixed sequence of rows.
pub(in crate::nn) fn probe(input: &Signature, size: u32, rows: &[u32]) -> Tensor {
    batch(std::slice::from_ref(input), size, rows).remove(0)
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
            let mut data = Vec::with_capacity(rows.len() * elements as usize * ty.size());
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
struct Random(u32);

impl Random {
    fn for_row(row: u32, input: usize) -> Self {
        let row = same_as(row);
        Random(0x9E37_79B9 ^ (row + 1).wrapping_mul(0x85EB_CA6B) ^ (input as u32 + 1).wrapping_mul(0xC2B2_AE35))
    }

    /// The next number from 0 to 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }
}

/// Compares a row of a batch with the row alone.
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
        let (bytes, ty) = (one.data.len(), one.ty);
        let (one, all) = (numbers(one.ty, &one.data), numbers(one.ty, &all.data[place * bytes..][..bytes]));
        let largest = one.iter().filter(|value| value.is_finite()).fold(0.0, |most: f32, value| most.max(value.abs()));
        let (tolerance, cancellation) = tolerances(ty);
        let of_largest = largest * if is_proven { tolerance } else { cancellation } + ABSOLUTE;
        let mut worst = (0.0, 0.0, 0.0);
        let mut differs = false;
        for (&alone, &together) in one.iter().zip(&all) {
            let same = alone == together || alone.is_nan() && together.is_nan();
            let difference = if same { 0.0 } else { (alone - together).abs() };
            // NaN on one side only gives a difference of NaN, which is not accepted.
            let is_accepted = same || difference <= alone.abs().max(together.abs()) * tolerance + of_largest;
            differs |= !is_accepted;
            if !is_accepted && (difference.is_nan() || difference > worst.0) {
                worst = (difference, alone, together);
            }
        }
        let (difference, alone, together) = worst;
        if differs {
            let (output, row) = (name.clone(), place as u32);
            return Err(RowsTouch::Value { output, row, rows, difference, alone, together });
        }
    }
    Ok(())
}

/// The shares of a value and of the largest value in the row that may differ. A sum that cancels has an error of the size
/// of what cancels, in the precision of the type.
fn tolerances(ty: TensorType) -> (f32, f32) {
    match ty {
        TensorType::Fp16 => (TOLERANCE_OF_FP16, TOLERANCE_OF_FP16),
        TensorType::Bf16 => (TOLERANCE_OF_BF16, TOLERANCE_OF_BF16),
        _ => (TOLERANCE, CANCELLATION),
    }
}

/// The elements as numbers.
fn numbers(ty: TensorType, bytes: &[u8]) -> Vec<f32> {
    macro_rules! numbers {
        ($ty:ty) => {
            bytes.as_chunks().0.iter().map(|&bytes| <$ty>::from_le_bytes(bytes) as f32).collect()
        };
    }
    match ty {
        TensorType::Fp16 => bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        TensorType::Bf16 => bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        TensorType::Fp32 => numbers!(f32),
        TensorType::Fp64 => numbers!(f64),
        TensorType::Bool | TensorType::U8 => numbers!(u8),
        TensorType::U16 => numbers!(u16),
        TensorType::U32 => numbers!(u32),
        TensorType::U64 => numbers!(u64),
        TensorType::I8 => numbers!(i8),
        TensorType::I16 => numbers!(i16),
        TensorType::I32 => numbers!(i32),
        TensorType::I64 => numbers!(i64),
    }
}
