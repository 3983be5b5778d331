//! The rows of a batch: the check for a batch axis, and joining and splitting tensors by rows.

use crate::nn::error::RunError;
use crate::nn::model::Signature;
use crate::tensor::{Tensor, TensorType, Tensors};

/// Checks that the first dimension of every input and output is dynamic, so that runs can be batched.
///
/// # Errors
/// If an input or output has no batch axis, or has strings: rows of strings have different sizes.
pub fn check_batch_axis(inputs: &[Signature], outputs: &[Signature]) -> Result<(), NoBatchAxis> {
    for (what, signature) in inputs.iter().map(|input| ("input", input)).chain(outputs.iter().map(|o| ("output", o))) {
        let name = signature.name.clone();
        if signature.types.contains(&TensorType::Bytes) {
            return Err(NoBatchAxis::Strings { what, name });
        }
        let Some(shape) = &signature.shape else { continue };
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
    /// It has strings.
    #[error("{what} `{name}` has strings, and runs with strings cannot be batched: remove `max_batch`")]
    Strings {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
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

/// Splits every output into the rows of each run: views of its buffer. `all` are the rows of the outputs; those after
/// the rows of the runs are left out.
pub(super) fn split(outputs: &Tensors, rows: &[u32], all: u32) -> Result<Vec<Tensors>, RunError> {
    let mut parts: Vec<Tensors> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for (name, tensor) in outputs {
        if tensor.dimensions.first() != Some(&all) {
            return Err(RunError::BatchOutput { name: name.clone(), dimensions: tensor.dimensions.clone(), rows: all });
        }
        let mut from = 0;
        for (part, &rows) in parts.iter_mut().zip(rows) {
            part.push((name.clone(), slice(tensor, all, from, rows)));
            from += rows;
        }
    }
    Ok(parts)
}

/// `count` rows from `from` on, of a tensor with `all` rows: a view.
pub(super) fn slice(tensor: &Tensor, all: u32, from: u32, count: u32) -> Tensor {
    let row = tensor.data.len() / all as usize;
    let start = from as usize * row;
    let mut dimensions = tensor.dimensions.clone();
    dimensions[0] = count;
    Tensor::with_bytes(dimensions, tensor.ty, tensor.data.view(start..start + count as usize * row))
}

/// Joins the outputs of the parts of a run; each part has its number of rows.
///
/// # Errors
/// If an output of a part does not have its rows, or has another type or other sizes than that of the first part: its rows
/// would be divided at wrong places.
pub(super) fn concatenate(mut parts: Vec<(u32, Tensors)>) -> Result<Tensors, RunError> {
    let all: u32 = parts.iter().map(|(rows, _)| rows).sum();
    let Some((_, first)) = parts.first() else { return Ok(Tensors::new()) };
    for (rows, outputs) in &parts {
        for (index, (name, one)) in first.iter().enumerate() {
            let part = outputs.get(index).map(|(_, part)| part);
            let fits = |part: &&Tensor| {
                part.dimensions.first() == Some(rows)
                    && part.dimensions.get(1..) == one.dimensions.get(1..)
                    && part.ty == one.ty
            };
            if part.filter(fits).is_none() {
                let dimensions = part.map(|part| part.dimensions.clone()).unwrap_or_default();
                return Err(RunError::BatchOutput { name: name.clone(), dimensions, rows: *rows });
            }
        }
    }
    if parts.len() == 1 {
        return Ok(parts.remove(0).1);
    }
    let joined = |(index, (name, tensor)): (usize, &(String, Tensor))| {
        let parts: Vec<_> = parts.iter().filter_map(|(_, outputs)| outputs.get(index)).collect();
        let mut data = Vec::with_capacity(parts.iter().map(|(_, part)| part.data.len()).sum());
        parts.iter().for_each(|(_, part)| data.extend_from_slice(&part.data));
        let mut dimensions = tensor.dimensions.clone();
        dimensions[0] = all;
        (name.clone(), Tensor::new(dimensions, tensor.ty, data))
    };
    Ok(first.iter().enumerate().map(joined).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let strings = Signature { types: vec![TensorType::Bytes], ..signature(&[None]) };
        let refused = check_batch_axis(&[], &[strings]).expect_err("strings").to_string();
        assert!(refused.starts_with("output `x` has strings"), "{refused}");
    }

    #[test]
    fn parts_without_their_rows_or_with_other_sizes_are_not_joined() {
        let part = |rows: u32, dimensions: &[u32], ty: TensorType| {
            let bytes = dimensions.iter().product::<u32>() as usize * 4;
            (rows, vec![("y".to_owned(), Tensor::new(dimensions.to_vec(), ty, vec![0; bytes]))])
        };
        let first = || part(2, &[2, 3], TensorType::Fp32);
        let joined = |other: (u32, Tensors)| {
            concatenate(vec![first(), other])
                .map(|outputs| outputs[0].1.dimensions.clone())
                .map_err(|error| error.to_string())
        };
        assert_eq!(joined(part(1, &[1, 3], TensorType::Fp32)), Ok(vec![3, 3]));
        for (rows, dimensions, ty) in [
            (1, &[3, 3][..], TensorType::Fp32),
            (1, &[1, 2], TensorType::Fp32),
            (1, &[1, 3, 1], TensorType::Fp32),
            (1, &[1, 3], TensorType::I32),
        ] {
            let error = joined(part(rows, dimensions, ty)).expect_err("refused");
            assert!(error.contains("output `y` has shape") && error.contains("for a batch of 1 rows"), "{error}");
        }
    }
}
