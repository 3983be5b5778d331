//! The rows of a batch: the check for a batch axis, and joining and splitting tensors by rows.

use super::waiting::Waiting;
use crate::nn::error::RunError;
use crate::nn::model::Signature;
use crate::tensor::{Tensor, Tensors};

/// Checks that the first dimension of every input and output is dynamic, so that runs can be batched.
///
/// # Errors
/// If an input or output has no batch axis.
pub fn check_batch_axis(inputs: &[Signature], outputs: &[Signature]) -> Result<(), NoBatchAxis> {
    for (what, signature) in inputs.iter().map(|input| ("input", input)).chain(outputs.iter().map(|o| ("output", o))) {
        let Some(shape) = &signature.shape else { continue };
        let name = signature.name.clone();
        match shape.first() {
            Some(None) => {}
            Some(&Some(size)) => return Err(NoBatchAxis::Fixed { what, name, size }),
            None => return Err(NoBatchAxis::Scalar { what, name }),
        }
    }
    Ok(())
}

/// An input or output (`what`) of a model that has no batch axis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBatchAxis {
    /// Its first dimension has a fixed size.
    #[error(
        "{what} `{name}` has a first dimension of fixed size {size}, so runs cannot be batched: export the model with a \
         dynamic batch axis, or remove `max_batch`"
    )]
    Fixed {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The size of the first dimension.
        size: u32,
    },
    /// It has no dimensions.
    #[error("{what} `{name}` is a scalar and has no batch axis: remove `max_batch`")]
    Scalar {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

/// The number of rows: the size of the first dimension, which is the same for every input.
pub(super) fn rows(inputs: &[Tensor]) -> Result<u32, RunError> {
    let sizes: Vec<_> = inputs.iter().map(|input| input.dimensions.first().copied().unwrap_or(0)).collect();
    match sizes.first() {
        Some(&rows) if rows > 0 && sizes.iter().all(|&size| size == rows) => Ok(rows),
        _ => Err(RunError::Rows(sizes)),
    }
}

/// Joins the rows of all runs, in their order: one tensor for each input.
pub(super) fn join(batch: &[Waiting]) -> Vec<Tensor> {
    let first = &batch[0].inputs;
    (0..first.len())
        .map(|input| {
            let mut dimensions = first[input].dimensions.clone();
            dimensions[0] = batch.iter().map(|waiting| waiting.rows).sum();
            let bytes = batch.iter().map(|waiting| waiting.inputs[input].data.len()).sum();
            let mut data = Vec::with_capacity(bytes);
            batch.iter().for_each(|waiting| data.extend_from_slice(&waiting.inputs[input].data));
            Tensor::new(dimensions, first[input].ty, data)
        })
        .collect()
}

/// Splits every output into the rows of each run.
pub(super) fn split(outputs: &Tensors, rows: &[u32]) -> Result<Vec<Tensors>, RunError> {
    let all: u32 = rows.iter().sum();
    let mut parts: Vec<Tensors> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for (name, tensor) in outputs {
        if tensor.dimensions.first() != Some(&all) {
            return Err(RunError::BatchOutput { name: name.clone(), dimensions: tensor.dimensions.clone(), rows: all });
        }
        let row = tensor.data.len() / all as usize;
        let mut at = 0;
        for (part, &rows) in parts.iter_mut().zip(rows) {
            let mut dimensions = tensor.dimensions.clone();
            dimensions[0] = rows;
            let end = at + row * rows as usize;
            part.push((name.clone(), Tensor::new(dimensions, tensor.ty, tensor.data[at..end].to_vec())));
            at = end;
        }
    }
    Ok(parts)
}

/// `count` rows from `from` on, of a tensor with `all` rows.
pub(super) fn slice(tensor: &Tensor, all: u32, from: u32, count: u32) -> Tensor {
    let row = tensor.data.len() / all as usize;
    let data = tensor.data[from as usize * row..][..count as usize * row].to_vec();
    let mut dimensions = tensor.dimensions.clone();
    dimensions[0] = count;
    Tensor::new(dimensions, tensor.ty, data)
}

/// Joins the outputs of the parts of a run; each part has its number of rows.
pub(super) fn concatenate(parts: Vec<(u32, Tensors)>) -> Tensors {
    let all: u32 = parts.iter().map(|(rows, _)| rows).sum();
    let mut parts = parts.into_iter().map(|(_, outputs)| outputs);
    let Some(mut joined) = parts.next() else { return Tensors::new() };
    for outputs in parts {
        for ((_, tensor), (_, more)) in joined.iter_mut().zip(outputs) {
            std::sync::Arc::make_mut(&mut tensor.data).extend_from_slice(&more.data);
        }
    }
    joined.iter_mut().for_each(|(_, tensor)| tensor.dimensions[0] = all);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    #[test]
    fn a_fixed_batch_axis_is_rejected_by_name() {
        let signature = |shape: &[Option<u32>]| Signature {
            name: "x".into(),
            types: vec![TensorType::Fp32],
            shape: Some(shape.to_vec()),
        };
        assert_eq!(check_batch_axis(&[signature(&[None, Some(3)])], &[]), Ok(()));
        let fixed = check_batch_axis(&[signature(&[None])], &[signature(&[Some(1), Some(3)])]);
        let refused = fixed.expect_err("fixed").to_string();
        assert!(refused.starts_with("output `x` has a first dimension of fixed size 1"), "{refused}");
        assert!(check_batch_axis(&[signature(&[])], &[]).expect_err("a scalar").to_string().contains("scalar"));
    }
}
