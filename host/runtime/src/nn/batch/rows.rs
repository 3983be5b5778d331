//! The rows of a batch: the check for a batch axis, and joining and splitting tensors by rows.

use super::Waiting;
use crate::nn::model::Signature;
use crate::tensor::{Tensor, Tensors};

/// Checks that the first dimension of every input and output is dynamic, so that runs can be batched.
///
/// # Errors
/// The input or output without a batch axis, and how to fix it.
pub fn check_batch_axis(inputs: &[Signature], outputs: &[Signature]) -> Result<(), String> {
    for (what, signature) in inputs.iter().map(|input| ("input", input)).chain(outputs.iter().map(|o| ("output", o))) {
        let Some(shape) = &signature.shape else { continue };
        let name = &signature.name;
        match shape.first() {
            Some(None) => {}
            Some(Some(size)) => {
                return Err(format!(
                    "{what} `{name}` has a first dimension of fixed size {size}, so runs cannot be batched: export \
                     the model with a dynamic batch axis, or remove `max_batch`"
                ));
            }
            None => return Err(format!("{what} `{name}` is a scalar and has no batch axis: remove `max_batch`")),
        }
    }
    Ok(())
}

/// The number of rows: the size of the first dimension, which is the same for every input.
pub(super) fn rows(inputs: &[Tensor]) -> Result<u32, String> {
    let sizes: Vec<_> = inputs.iter().map(|input| input.dimensions.first().copied().unwrap_or(0)).collect();
    match sizes.first() {
        Some(&rows) if rows > 0 && sizes.iter().all(|&size| size == rows) => Ok(rows),
        _ => Err(format!("the inputs have batch axes of sizes {sizes:?}; one size of at least 1 is needed")),
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
pub(super) fn split(outputs: &Tensors, rows: &[u32]) -> Result<Vec<Tensors>, String> {
    let all: u32 = rows.iter().sum();
    let mut parts: Vec<Tensors> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for (name, tensor) in outputs {
        if tensor.dimensions.first() != Some(&all) {
            let shape = &tensor.dimensions;
            return Err(format!("output `{name}` has shape {shape:?} for a batch of {all} rows"));
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
        let refused = check_batch_axis(&[signature(&[None])], &[signature(&[Some(1), Some(3)])]).expect_err("fixed");
        assert!(refused.starts_with("output `x` has a first dimension of fixed size 1"), "{refused}");
        assert!(check_batch_axis(&[signature(&[])], &[]).expect_err("a scalar").contains("scalar"));
    }
}
