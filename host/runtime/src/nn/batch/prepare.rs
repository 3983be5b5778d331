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
    warn_of_new_shapes(model, true, Some((first, again)));
    Ok(cost)
}

/// Prepares a model without batches for runs of its one shape. A model that has no such shape, or that does not accept
/// the inputs that the host makes, prepares itself at its first run.
pub(in crate::nn) fn prepare_single(model: &dyn Model) {
    if !model.properties().pays_for_new_shapes {
        return;
    }
    let Some(inputs) = single_run(model.inputs()) else { return warn_of_new_shapes(model, false, None) };
    let started = Instant::now();
    let warmed = warm(model, &inputs);
    let first = started.elapsed();
    match warmed {
        Ok(()) => {
            let started = Instant::now();
            let again = run(model, &inputs).is_ok().then(|| started.elapsed());
            tracing::info!("the model is prepared for runs of one row, in {first:.1?}");
            warn_of_new_shapes(model, false, again.map(|again| (first, again)));
        }
        Err(error) => {
            tracing::warn!("the model could not be prepared, so its first run may be slow: {error}");
            warn_of_new_shapes(model, false, None);
        }
    }
}

/// Inputs of one row, or of as many as the model fixes. `None` if another dimension is dynamic, or if they would take more than
/// `MAX_BYTES`.
pub(in crate::nn) fn single_run(inputs: &[Signature]) -> Option<Vec<Tensor>> {
    if !can_run_singly(inputs) {
        return None;
    }
    let single = |input: &Signature| {
        let rows = (*input.shape.as_ref()?.first()?).unwrap_or(1);
        batch(std::slice::from_ref(input), 1, &vec![0; rows as usize]).pop()
    };
    inputs.iter().map(single).collect()
}

/// Returns true if there are inputs of [`single_run`].
pub(in crate::nn) fn can_run_singly(inputs: &[Signature]) -> bool {
    let bytes = |input: &Signature| {
        let element = input.types.first().and_then(|ty| ty.size()).unwrap_or(1);
        let shape = input.shape.as_ref().filter(|shape| !shape.is_empty() && !has_other_dynamic_dimensions(input))?;
        shape.iter().try_fold(element, |all, size| all.checked_mul(size.unwrap_or(1) as usize))
    };
    let all = inputs.iter().map(bytes).try_fold(0usize, |all, bytes| all.checked_add(bytes?));
    all.is_some_and(|bytes| bytes as u64 <= MAX_BYTES)
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

fn warn_of_new_shapes(model: &dyn Model, has_batches: bool, measured: Option<(Duration, Duration)>) {
    if let Some(warning) = new_shapes_warning(model, has_batches, measured) {
        tracing::warn!("{warning}");
    }
}

/// What new shapes cost, if callers can send them. `measured` are the times of the first run of a shape and of the next one.
fn new_shapes_warning(model: &dyn Model, has_batches: bool, measured: Option<(Duration, Duration)>) -> Option<String> {
    let input = input_with_new_shapes(model, has_batches)?;
    let cost = match measured {
        Some((first, again)) => format!("its first run with a shape took up to {first:.1?}, the next one {again:.1?}"),
        None => "which may take seconds".to_owned(),
    };
    let name = &input.name;
    Some(match has_other_dynamic_dimensions(input) {
        true => format!(
            "input `{name}` has dynamic dimensions besides the rows. The device prepares itself again for every new shape, \
             while it serves requests ({cost}): export the model with fixed sizes, or send few different shapes"
        ),
        false => format!(
            "input `{name}` takes any number of rows, and the model has no `max_batch`. The device prepares itself again for \
             every new number of rows that a caller sends ({cost}): set `max_batch`, and prepared sizes are used"
        ),
    })
}

fn warm(model: &dyn Model, inputs: &[Tensor]) -> Result<(), RunError> {
    catch_unwind(AssertUnwindSafe(|| model.warm(inputs))).unwrap_or(Err(RunError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::model::ModelProperties;
    use crate::tensor::TensorType;

    struct Of(ModelProperties);

    impl Model for Of {
        fn properties(&self) -> &ModelProperties {
            &self.0
        }

        fn run(&self, _inputs: &[Tensor]) -> Result<Tensors, RunError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn new_shapes_are_named_with_what_they_cost() {
        let warning = |shape: &[Option<u32>], pays: bool, has_batches: bool, measured| {
            let input = Signature { name: "x".into(), types: vec![TensorType::Fp32], shape: Some(shape.to_vec()) };
            let properties = ModelProperties::on_cpu(vec![input], Vec::new(), 1);
            let model = Of(ModelProperties { pays_for_new_shapes: pays, ..properties });
            new_shapes_warning(&model, has_batches, measured).unwrap_or_default()
        };
        let (any, fixed) = ([None, Some(3), None, None], [None, Some(3), Some(8), Some(8)]);
        let measured = Some((Duration::from_millis(1_500), Duration::from_millis(20)));
        let text = warning(&any, true, true, measured);
        assert!(text.contains("`x` has dynamic dimensions besides the rows"), "{text}");
        assert!(text.contains("took up to 1.5s, the next one 20.0ms"), "{text}");
        assert!(warning(&any, true, false, None).contains("(which may take seconds)"));
        assert!(warning(&fixed, true, false, None).contains("takes any number of rows"));
        // Nothing to say where rows are padded, where shapes are fixed, and on the CPU.
        assert_eq!(warning(&fixed, true, true, measured), "");
        assert_eq!(warning(&[Some(1), Some(3)], true, false, None), "");
        assert_eq!(warning(&any, false, false, None), "");
    }
}
