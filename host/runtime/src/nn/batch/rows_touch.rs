//! Why runs of a model cannot be combined.

use crate::nn::error::RunError;
use crate::tensor::Element;

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
        difference: f64,
        /// The value without other rows.
        alone: Element,
        /// The value in the batch.
        together: Element,
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
