//! Checks at admission that the rows of a batch do not depend on each other, so that no caller's answer depends on the
//! other callers in the batch.
//!
//! There are two checks. The graph of the model may prove that rows stay apart, or show where they are mixed (the crate
//! `plimsoll-onnx`, module `rows`). In any case rows that differ run alone and together, in both orders and in batches
//! of all sizes, and are compared. A model that mixes rows (a normalisation over the batch, a suppression of boxes across
//! images) is rejected. If the graph proves nothing, the comparison has more rows and is stricter, and the model is
//! accepted only if the administrator says so: no comparison finds every dependence.

use std::time::Instant;

use plimsoll_onnx::RowProof;

use super::cost::RunCost;
use super::probe_rows::{PROVEN, UNPROVEN, batch, find_size, is_optional, run};
use super::row_compare::{Strictness, compare};
use super::row_plan::{Limits, MAX_TIME, batches};
use super::rows_touch::RowsTouch;
use crate::nn::error::RunError;
use crate::nn::model::Model;
use crate::tensor::{Tensor, Tensors};

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
    let strictness = Strictness::of(model, is_proven);
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
    let (mut compared, mut too_large) = (false, None);
    for rows in plan {
        let count = rows.len() as u32;
        let patterns: Vec<u32> = rows.iter().map(|&row| alone[row].0).collect();
        let together = match timed(&batch(inputs, size, &patterns)) {
            Ok(together) => together,
            // Requests of this size never run in such a batch.
            Err(error @ RunError::TooLarge(_)) => {
                too_large = too_large.or(Some(RowsTouch::Batch { rows: count, error }));
                continue;
            }
            Err(error) => return Err(RowsTouch::Batch { rows: count, error }),
        };
        compared = true;
        for (place, &row) in rows.iter().enumerate() {
            compare(&alone[row].1, &together, place, count, strictness)?;
        }
    }
    if let Some(error) = too_large.filter(|_| !compared) {
        return Err(error);
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
