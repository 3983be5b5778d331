//! Checks the names and shapes of the tensors from preprocessing against the inputs of the model. Each error says what
//! the model expects, because that is what the configuration of the preprocess stage must produce.

use std::collections::HashMap;
use std::fmt;

use half::f16;
use plimsoll_sdk::{NamedTensor, Tensor, TensorType};
use rten::{Dimension, Model, NodeId, ValueType};

/// An input as the model declares it. A model may leave the type and the shape open.
pub struct Input {
    pub id: NodeId,
    pub name: String,
    pub kind: Option<ValueType>,
    pub shape: Option<Vec<Dimension>>,
    /// The element type that the file declares, in ONNX's words. rten may compute in another one.
    pub declared: Option<&'static str>,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        if let Some(kind) = self.kind {
            write!(f, " {kind}")?;
        }
        if let Some(shape) = &self.shape {
            let sizes: Vec<String> = shape
                .iter()
                .map(|dimension| match dimension {
                    Dimension::Fixed(size) => size.to_string(),
                    Dimension::Symbolic(name) => name.clone(),
                })
                .collect();
            write!(f, " [{}]", sizes.join(", "))?;
        }
        Ok(())
    }
}

impl Input {
    /// True if a tensor of this shape fits the input. Dimensions that the model leaves open accept any size.
    fn accepts(&self, given: &[u32]) -> bool {
        let Some(shape) = &self.shape else { return true };
        shape.len() == given.len()
            && shape.iter().zip(given).all(|(dimension, &size)| match dimension {
                Dimension::Fixed(expected) => *expected == size as usize,
                Dimension::Symbolic(_) => true,
            })
    }
}

/// The model's inputs, in the order of the model. `declared` are the element types that the file declares.
pub fn inputs(model: &Model, declared: &HashMap<String, &'static str>) -> Vec<Input> {
    let ids = model.input_ids().iter();
    ids.filter_map(|&id| {
        let node = model.node_info(id)?;
        let name = node.name().unwrap_or_default().to_owned();
        let declared = declared.get(&name).copied();
        Some(Input { id, name, kind: node.dtype(), shape: node.shape(), declared })
    })
    .collect()
}

/// Finds the tensor for each input.
///
/// # Errors
/// If a tensor is missing, superfluous, duplicated or has the wrong shape.
pub fn match_inputs<'a>(
    expected: &'a [Input],
    given: &'a [NamedTensor],
) -> Result<Vec<(&'a Input, &'a Tensor)>, String> {
    let mismatch = || {
        let expected: Vec<String> = expected.iter().map(Input::to_string).collect();
        let given: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
        format!("the model's inputs are {}, but the stage received tensors named {given:?}", expected.join(", "))
    };
    if expected.len() != given.len() {
        return Err(mismatch());
    }
    expected
        .iter()
        .map(|input| {
            let (_, tensor) = given.iter().find(|(name, _)| *name == input.name).ok_or_else(mismatch)?;
            let shape = tensor.dimensions();
            if input.accepts(&shape) {
                Ok((input, tensor))
            } else {
                Err(format!("the model's input {input} received a tensor {:?} of shape {shape:?}", tensor.ty()))
            }
        })
        .collect()
}

/// Checks the numbers for a model that computes wrongly with NaN and infinities.
///
/// # Errors
/// If a number is NaN, infinite or huge.
pub fn numbers(input: &Input, tensor: &Tensor) -> Result<(), String> {
    let is_extreme = |number: &f32| !plimsoll_onnx::is_moderate(*number);
    let found = match tensor.ty() {
        TensorType::Fp32 => tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).find(is_extreme),
        TensorType::Fp16 => {
            tensor.data().as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).find(is_extreme)
        }
        _ => None,
    };
    match found {
        Some(number) => Err(format!(
            "the tensor for the model's input {input} contains {number:e}, and rten loses NaN and infinities in this \
             model: send numbers up to 1e18, or use `infer-native` with the backend `onnxruntime`"
        )),
        None => Ok(()),
    }
}
