//! Converts tensors of the protocol to those of stages, and back.

use plimsoll_runtime::tensor::{Tensor as NnTensor, join_strings};

use super::binary_form::{BinaryError, read_binary};
use super::datatype::Datatype;
use super::parameter::Parameters;
use super::tensor::{Data, Tensor, TensorError};

impl Tensor {
    /// Converts the tensor to a tensor of a stage. Numbers share the bytes; strings are copied.
    ///
    /// # Errors
    /// If a dimension or a string is too large.
    pub fn to_nn(&self) -> Result<NnTensor, TensorError> {
        let dimensions = self.shape.iter().map(|&size| u32::try_from(size)).collect::<Result<Vec<_>, _>>();
        let dimensions = dimensions.map_err(|_| TensorError::Size(self.shape.clone()))?;
        let data = match &self.data {
            Data::Fixed(bytes) => bytes.clone().into(),
            Data::Elements(elements) => join_strings(elements).ok_or(TensorError::Element)?.into(),
        };
        Ok(NnTensor::with_bytes(dimensions, self.datatype.to_nn(), data))
    }

    /// Converts an output tensor of a stage.
    ///
    /// # Errors
    /// If it has too many strings, or they do not fit its shape.
    pub fn from_nn(name: String, tensor: NnTensor) -> Result<Self, BinaryError> {
        let datatype = Datatype::from_nn(tensor.ty);
        let shape: Vec<u64> = tensor.dimensions.iter().map(|&size| size.into()).collect();
        let bytes = tensor.data.into_bytes();
        let data = match datatype {
            Datatype::Bytes => read_binary(datatype, &shape, bytes)?,
            _ => Data::Fixed(bytes),
        };
        Ok(Self { name, datatype, shape, parameters: Parameters::new(), data })
    }
}
