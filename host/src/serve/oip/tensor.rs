//! The tensors of the protocol. BYTES elements are stored one by one. All other elements are stored as bytes,
//! little-endian and row-major, as in `wasi:nn`.

use std::fmt;

use bytes::Bytes;
use plimsoll_runtime::tensor::{Tensor as NnTensor, TensorBytes, TensorType};

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
    /// A dimension is too large for `wasi:nn`.
    #[error("the shape {0:?} has a size that exceeds 32 bits")]
    Size(Vec<u64>),
    /// `wasi:nn` has no strings.
    #[error("a stage takes numeric tensors, not BYTES")]
    NotNumeric,
    /// `wasi:nn` has no unsigned integers of 64 bits.
    #[error("a stage takes UINT64 as INT64, but {0} is larger than the maximum of INT64")]
    LargeUint64(u64),
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

impl Tensor {
    /// Converts the tensor to a `wasi:nn` tensor. Integers of a type that `wasi:nn` does not have become the next wider
    /// type that it has.
    ///
    /// # Errors
    /// If `wasi:nn` cannot represent the tensor.
    pub fn to_nn(&self) -> Result<NnTensor, TensorError> {
        let dimensions = self.shape.iter().map(|&size| u32::try_from(size)).collect::<Result<Vec<_>, _>>();
        let dimensions = dimensions.map_err(|_| TensorError::Size(self.shape.clone()))?;
        let Data::Fixed(bytes) = &self.data else { return Err(TensorError::NotNumeric) };
        let (ty, data): (_, TensorBytes) = match self.datatype {
            Datatype::Bool | Datatype::Uint8 => (TensorType::U8, bytes.clone().into()),
            Datatype::Int32 => (TensorType::I32, bytes.clone().into()),
            Datatype::Int64 => (TensorType::I64, bytes.clone().into()),
            Datatype::Fp16 => (TensorType::Fp16, bytes.clone().into()),
            Datatype::Fp32 => (TensorType::Fp32, bytes.clone().into()),
            Datatype::Fp64 => (TensorType::Fp64, bytes.clone().into()),
            Datatype::Bf16 => (TensorType::Bf16, bytes.clone().into()),
            Datatype::Int8 => (TensorType::I32, widened(bytes, |[byte]| i32::from(byte as i8).to_le_bytes()).into()),
            Datatype::Int16 => {
                (TensorType::I32, widened(bytes, |two| i32::from(i16::from_le_bytes(two)).to_le_bytes()).into())
            }
            Datatype::Uint16 => {
                (TensorType::I32, widened(bytes, |two| i32::from(u16::from_le_bytes(two)).to_le_bytes()).into())
            }
            Datatype::Uint32 => {
                (TensorType::I64, widened(bytes, |four| i64::from(u32::from_le_bytes(four)).to_le_bytes()).into())
            }
            Datatype::Uint64 => {
                let (numbers, _) = bytes.as_chunks::<8>();
                if let Some(large) = numbers.iter().map(|eight| u64::from_le_bytes(*eight)).find(|&n| n >> 63 != 0) {
                    return Err(TensorError::LargeUint64(large));
                }
                (TensorType::I64, bytes.clone().into())
            }
            Datatype::Bytes => unreachable!("BYTES tensors are not `Data::Fixed`"),
        };
        Ok(NnTensor::with_bytes(dimensions, ty, data))
    }

    /// Converts an output tensor of a stage.
    pub fn from_nn(name: String, tensor: NnTensor) -> Self {
        Self {
            name,
            datatype: Datatype::from_nn(tensor.ty),
            shape: tensor.dimensions.iter().map(|&size| size.into()).collect(),
            parameters: Parameters::new(),
            data: Data::Fixed(tensor.data.into_bytes()),
        }
    }
}

fn widened<const FROM: usize, const TO: usize>(bytes: &[u8], widen: impl Fn([u8; FROM]) -> [u8; TO]) -> Vec<u8> {
    let (numbers, _) = bytes.as_chunks::<FROM>();
    numbers.iter().flat_map(|number| widen(*number)).collect()
}
