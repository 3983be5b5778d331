//! Tensors of plugins that the host does not hand on.

use std::collections::HashSet;

use super::limits::{MAX_DIMENSIONS, MAX_RESOURCES, MAX_TENSOR_NAME};
use crate::tensor::{SizeMismatch, Tensors};

/// Raised if a tensor of a plugin has what no model needs, and what would cost the host memory that no limit counts, or if
/// it is not what its shape says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OddTensor {
    /// A long name.
    #[error("the plugin names a tensor with {0} bytes, {MAX_TENSOR_NAME} are allowed")]
    Name(usize),
    /// Many dimensions.
    #[error("the plugin makes a tensor with {0} dimensions, {MAX_DIMENSIONS} are allowed")]
    Dimensions(usize),
    /// More or fewer bytes than its shape needs. A caller would read a part of it, or bytes of the next tensor.
    #[error("the plugin returned the tensor `{0}`: {1}")]
    Size(String, SizeMismatch),
    /// Two tensors have the same name. A caller would read one or the other.
    #[error("the plugin returned two tensors `{0}`")]
    Twice(String),
    /// All items together have many tensors.
    #[error(
        "the step gathers {0} tensors, {MAX_RESOURCES} are allowed; make fewer items, or hand on fewer tensors of each"
    )]
    Gathered(usize),
}

impl OddTensor {
    /// Checks the tensors that a plugin returned.
    pub(super) fn check(tensors: &Tensors) -> Result<(), Self> {
        // A few names are compared one by one, which needs no table.
        const FEW: usize = 8;
        let mut many = HashSet::new();
        for (at, (name, tensor)) in tensors.iter().enumerate() {
            let is_known = match tensors.len() > FEW {
                true => !many.insert(name),
                false => tensors[..at].iter().any(|(known, _)| known == name),
            };
            if is_known {
                return Err(Self::Twice(name.clone()));
            }
            tensor.check_size().map_err(|mismatch| Self::Size(name.clone(), mismatch))?;
        }
        Ok(())
    }
}
