//! The tensors of the protocol. BYTES elements are stored one by one. All other elements are stored as bytes,
//! little-endian and row-major, as in tensors of the host.

use std::fmt;

use bytes::Bytes;

use super::datatype::Datatype;
use super::parameter::Parameters;

/// Maximum elements of one BYTES tensor. An empty element has four bytes in the body, but takes more memory in the
/// host.
pub const MAX_ELEMENTS: u64 = 65_536;
/// Maximum dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 32;

/// Bytes in memory of one element of a BYTES tensor that shares the bytes of a body.
pub const SHARED_ELEMENT: u64 = size_of::<Bytes>() as u64;

/// Why a tensor cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape has too many dimensions.
    #[error("the shape has {0} dimensions, but {MAX_DIMENSIONS} are allowed")]
    Dimensions(usize),
    /// The number of elements or bytes exceeds 64 bits.
    #[error("the shape {shape:?} of {datatype} has too many elements")]
    Elements {
        /// The sizes of the dimensions.
        shape: Vec<u64>,
        /// The datatype.
        datatype: Datatype,
    },
    /// A BYTES tensor has too many elements.
    #[error("a BYTES tensor may have {MAX_ELEMENTS} elements, but the shape {shape:?} has {count}")]
    BytesElements {
        /// The sizes of the dimensions.
        shape: Vec<u64>,
        /// The number of elements.
        count: u64,
    },
    /// A dimension is too large for a tensor of a stage.
    #[error("the shape {0:?} has a size that exceeds 32 bits")]
    Size(Vec<u64>),
    /// A string is too large for a tensor of a stage.
    #[error("an element of a BYTES tensor has more than 4 GiB")]
    Element,
}

/// The elements of a tensor.
#[derive(Clone, PartialEq, Eq)]
pub enum Data {
    /// The bytes of elements of a fixed size, without gaps.
    Fixed(Bytes),
    /// The elements of a BYTES tensor.
    Elements(Vec<Bytes>),
}

/// A named tensor of a request or a response.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The name of the input or output.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Sizes of the dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Its own parameters.
    pub parameters: Parameters,
    /// The elements, as many as the shape has.
    pub data: Data,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Elements(elements) => write!(f, "{} elements", elements.len()),
        }
    }
}

/// Returns the number of elements of a shape.
///
/// # Errors
/// If there are too many dimensions, if the number of elements or bytes exceeds 64 bits, or if a BYTES tensor has too
/// many elements.
pub fn count(shape: &[u64], datatype: Datatype) -> Result<u64, TensorError> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(TensorError::Dimensions(shape.len()));
    }
    let count = shape.iter().try_fold(1_u64, |count, &size| count.checked_mul(size));
    let bytes = count.and_then(|count| count.checked_mul(datatype.size().unwrap_or(1)));
    let (Some(count), Some(_)) = (count, bytes) else {
        return Err(TensorError::Elements { shape: shape.to_vec(), datatype });
    };
    if datatype == Datatype::Bytes && count > MAX_ELEMENTS {
        return Err(TensorError::BytesElements { shape: shape.to_vec(), count });
    }
    Ok(count)
}

impl Data {
    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) => bytes.len(),
            Self::Elements(elements) => elements.iter().map(Bytes::len).sum(),
        }
    }
}
