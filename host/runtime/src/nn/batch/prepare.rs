//! Runs a model at admission with every number of rows that it will get, so that a device that prepares itself for new
//! shapes does that before the model is ready and not while it serves requests.
//!
//! The rows of each padded batch are compared with the rows alone, because a library may choose other algorithms for
//! each size.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::cost::RunCost;
use super::probe_rows::{batch, find_size, run};
use super::row_compare::{Strictness, compare};
use super::rows_touch::RowsTouch;
use super::sizes::BatchSizes;
use crate::nn::error::RunError;
use crate::nn::model::{Model, Signature};
use crate::tensor::{Tensor, Tensors};

/// The rows that differ in the batches of this check.
const ROWS: u32 = 8;
/// The most bytes of the inputs of a batch.
const MAX_BYTES: u64 = 1 << 30;

/// Why a model cannot be run with a batch size.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrepareError {
    /// A row of a padded batch differs from the row alone, or no row can be run.
    #[error("batch size {size}: {reason}")]
    Rows {
        /// The batch size.
        size: u32,
        /// The difference.
        reason: RowsTouch,
    },
    /// The run failed.
    #[error(
        "batch size {size}: the run that prepares this size failed ({error}): lower `max_batch`, or set `batch_sizes` \
         without it"
    )]
    Run {
        /// The batch size.
        size: u32,
        /// The backend's error.
        error: RunError,
    },
    /// The inputs are too large.
    #[error("batch size {size}: its inputs would have {bytes} bytes, and {MAX_BYTES} are the most: lower `max_batch`")]
    TooLarge {
        /// The batch size.
        size: u32,
        /// The bytes of the inputs.
        bytes: u64,
    },
}

/// Runs every size once in everything that prepares itself for shapes (each session), and compares padded batches with
/// single rows. Returns what runs cost.
///
/// # Errors
/// The size, and the row with the difference or the error of the run.
pub fn prepare_sizes(model: &dyn Model, sizes: &BatchSizes) -> Result<RunCost, PrepareError> {
    let inputs = model.inputs();
    // Whether the graph proves it was checked before; here the sizes are compared.
    let strictness = Strictness::of(model, true);
    let fails = |size: u32| move |reason| PrepareError::Rows { size, reason };
    let (size, _) = find_size(model, inputs).map_err(fails(1))?;
    let alone: Vec<Tensors> = (0..ROWS)
        .map(|row| run(model, &batch(inputs, size, &[row])).map_err(|error| fails(1)(RowsTouch::Run(error))))
        .collect::<Result<_, _>>()?;
    let row_bytes: u64 = batch(inputs, size, &[0]).iter().map(|input| input.data.len() as u64).sum();
    let mut before = 0;
    let mut cost = RunCost::default();
    let (mut first, mut again) = (Duration::ZERO, Duration::ZERO);
    for rows in sizes.iter() {
        let bytes = row_bytes.saturating_mul(rows.into());
        if bytes > MAX_BYTES {
            return Err(PrepareError::TooLarge { size: rows, bytes });
        }
        // Batches with the most padding that this size gets, and without padding.
        for own in [before + 1, rows] {
            let patterns: Vec<u32> = (0..rows).map(|place| place.min(own - 1) % ROWS).collect();
            let inputs = batch(inputs, size, &patterns);
            if own == before + 1 {
                let started = Instant::now();
                warm(model, &inputs).map_err(|error| PrepareError::Run { size: rows, error })?;
                first = first.max(started.elapsed());
            }
            let started = Instant::now();
            let together = run(model, &inputs).map_err(|error| PrepareError::Run { size: rows, error })?;
            let time = started.elapsed();
            again = again.max(time);
            cost.record_first(rows, time);
            for (place, &row) in patterns.iter().enumerate().take(own as usize) {
                compare(&alone[row as usize], &together, place, rows, strictness).map_err(fails(rows))?;
            }
        }
        before = rows;
    }
    let list: Vec<_> = sizes.iter().map(|size| size.to_string()).collect();
    tracing::info!(
        "batch sizes {} are prepared; the first run of a size took up to {first:.1?}, the next one up to {again:.1?}",
        list.join(", ")
    );
    warn_of_new_shapes(model);
    Ok(cost)
}

/// Prepares a model without batches for runs of its one shape. A model that has no such shape, or that does not accept
/// the inputs that the host makes, prepares itself at its first run.
pub(in crate::nn) fn prepare_single(model: &dyn Model) {
    if !model.properties().pays_for_new_shapes {
        return;
    }
    warn_of_new_shapes(model);
    if let Some(input) = input_with_new_shapes(model, false).filter(|input| !has_other_dynamic_dimensions(input)) {
        tracing::warn!(
            "input `{}` takes any number of rows, and the model has no `max_batch`. The device prepares itself again for \
             every new number of rows that a caller sends, which may take seconds: set `max_batch`, and prepared sizes \
             are used",
            input.name
        );
    }
    let Some(inputs) = single_run(model.inputs()) else { return };
    let started = Instant::now();
    match warm(model, &inputs) {
        Ok(()) => tracing::info!("the model is prepared for runs of one row, in {:.1?}", started.elapsed()),
        Err(error) => tracing::warn!("the model could not be prepared, so its first run may be slow: {error}"),
    }
}

/// Inputs of one row, or of as many as the model fixes. `None` if another dimension is dynamic.
pub(in crate::nn) fn single_run(inputs: &[Signature]) -> Option<Vec<Tensor>> {
    let single = |input: &Signature| {
        let shape = input.shape.as_ref()?;
        let rows = (*shape.first()?).unwrap_or(1);
        let is_small = shape.iter().try_fold(1u32, |all, size| all.checked_mul(size.unwrap_or(1))).is_some();
        if has_other_dynamic_dimensions(input) || !is_small {
            return None;
        }
        batch(std::slice::from_ref(input), 1, &vec![0; rows as usize]).pop()
    };
    inputs.iter().map(single).collect()
}

fn has_other_dynamic_dimensions(input: &Signature) -> bool {
    input.shape.as_ref().is_none_or(|shape| shape.iter().skip(1).any(Option::is_none))
}

/// The input that can make every run prepare the device again: it has dynamic dimensions besides the rows, which no batch
/// size can prevent, or a dynamic number of rows that is not padded to batch sizes.
pub(in crate::nn) fn input_with_new_shapes(model: &dyn Model, has_batches: bool) -> Option<&Signature> {
    if !model.properties().pays_for_new_shapes {
        return None;
    }
    let has_any_rows =
        |input: &&Signature| !has_batches && input.shape.as_ref().is_some_and(|it| it.first() == Some(&None));
    let mut inputs = model.inputs().iter();
    inputs.clone().find(|input| has_other_dynamic_dimensions(input)).or_else(|| inputs.find(has_any_rows))
}

fn warn_of_new_shapes(model: &dyn Model) {
    if let Some(input) = input_with_new_shapes(model, true) {
        tracing::warn!(
            "input `{}` has dynamic dimensions besides the rows. The device prepares itself again for every new shape, \
             while it serves requests, which may take seconds: export the model with fixed sizes, or send few \
             different shapes",
            input.name
        );
    }
}

fn warm(model: &dyn Model, inputs: &[Tensor]) -> Result<(), RunError> {
    catch_unwind(AssertUnwindSafe(|| model.warm(inputs))).unwrap_or(Err(RunError::Panicked))
}
