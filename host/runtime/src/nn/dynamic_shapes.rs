//! Outputs whose shape depends on their numbers: how many boxes are found, for example.

use super::model::Model;
use crate::tensor::Tensors;

/// Returns true if the shapes of an output differ only in dimensions that the model declares as dynamic.
pub(super) fn may_differ(model: &dyn Model, output: &str, expected: &Tensors, found: &Tensors) -> bool {
    let shape = |tensors: &Tensors| {
        tensors.iter().find(|(name, _)| name == output).map(|(_, tensor)| tensor.dimensions.clone())
    };
    let (Some(expected), Some(found)) = (shape(expected), shape(found)) else { return false };
    let Some(signature) = model.outputs().iter().find(|known| known.name == output) else { return false };
    let Some(declared) = &signature.shape else { return true };
    let sizes = expected.iter().zip(&found).zip(declared);
    expected.len() == found.len()
        && sizes.into_iter().all(|((one, other), declared)| one == other || declared.is_none())
}
