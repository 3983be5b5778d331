//! The tensors of the protocol. BYTES elements are stored one by one. All other elements are stored as bytes,
//! little-endian and row-major, as in `wasi:nn`. Reading binary input does not copy it: the tensor shares the memory of
//! the request body.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_runtime::tensor::{Tensor as NnTensor, TensorType};
use plimsoll_runtime::text::shortened;

use super::parameter::Parameters;

/// Maximum elements of one BYTES tensor. An empty element has four bytes in the body, but takes more memory in the
/// host.
pub const MAX_ELEMENTS: u64 = 65_536;
/// Maximum dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 32;

/// Bytes in memory of one element of a BYTES tensor that shares the bytes of a body.
pub const SHARED_ELEMENT: u64 = size_of::<Bytes>() as u64;

/// The datatypes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, one byte.
    Uint8,
    /// Unsigned, two bytes.
    Uint16,
    /// Unsigned, four bytes.
    Uint32,
    /// Unsigned, eight bytes.
    Uint64,
    /// Signed, one byte.
    Int8,
    /// Signed, two bytes.
    Int16,
    /// Signed, four bytes.
    Int32,
    /// Signed, eight bytes.
    Int64,
    /// Half precision.
    Fp16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
    /// The upper 16 bits of single precision.
    Bf16,
    /// Byte strings of any length.
    Bytes,
}

impl Datatype {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Bool, "BOOL"),
        (Self::Uint8, "UINT8"),
        (Self::Uint16, "UINT16"),
        (Self::Uint32, "UINT32"),
        (Self::Uint64, "UINT64"),
        (Self::Int8, "INT8"),
        (Self::Int16, "INT16"),
        (Self::Int32, "INT32"),
        (Self::Int64, "INT64"),
        (Self::Fp16, "FP16"),
        (Self::Fp32, "FP32"),
        (Self::Fp64, "FP64"),
        (Self::Bf16, "BF16"),
        (Self::Bytes, "BYTES"),
    ];

    /// The name in the protocol.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(datatype, _)| *datatype == self).map_or("", |(_, name)| name)
    }

    /// Bytes of one element; `None` for BYTES.
    pub fn size(self) -> Option<u64> {
        Some(match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
            Self::Bytes => return None,
        })
    }

    /// The datatype that corresponds to a `wasi:nn` type.
    pub fn from_nn(ty: TensorType) -> Self {
        match ty {
            TensorType::Fp16 => Self::Fp16,
            TensorType::Fp32 => Self::Fp32,
            TensorType::Fp64 => Self::Fp64,
            TensorType::Bf16 => Self::Bf16,
            TensorType::U8 => Self::Uint8,
            TensorType::I32 => Self::Int32,
            TensorType::I64 => Self::Int64,
        }
    }
}

impl FromStr for Datatype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(datatype, _)| *datatype).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("there is no datatype `{}`; the datatypes are {}", shortened(text), names.join(", "))
        })
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
pub fn count(shape: &[u64], datatype: Datatype) -> Result<u64, String> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!("the shape has {} dimensions, but {MAX_DIMENSIONS} are allowed", shape.len()));
    }
    let count = shape.iter().try_fold(1_u64, |count, &size| count.checked_mul(size));
    let bytes = count.and_then(|count| count.checked_mul(datatype.size().unwrap_or(1)));
    let (Some(count), Some(_)) = (count, bytes) else {
        return Err(format!("the shape {shape:?} of {datatype} has too many elements"));
    };
    if datatype == Datatype::Bytes && count > MAX_ELEMENTS {
        return Err(format!("a BYTES tensor may have {MAX_ELEMENTS} elements, but the shape {shape:?} has {count}"));
    }
    Ok(count)
}

/// Reads the binary form of a tensor's elements.
///
/// # Errors
/// If the bytes do not match the shape and the datatype.
pub fn read_binary(datatype: Datatype, shape: &[u64], bytes: Bytes) -> Result<Data, String> {
    let count = count(shape, datatype)?;
    let Some(size) = datatype.size() else { return elements(count, bytes).map(Data::Elements) };
    if bytes.len() as u64 != count * size {
        return Err(format!(
            "the shape {shape:?} of {datatype} needs {} bytes, but {} were given",
            count * size,
            bytes.len()
        ));
    }
    if datatype == Datatype::Bool
        && let Some(other) = bytes.iter().find(|byte| **byte > 1)
    {
        return Err(format!("a BOOL element must be the byte 0 or 1, not {other}"));
    }
    Ok(Data::Fixed(bytes))
}

/// Maximum elements that the binary form of a BYTES tensor can have: `count` are announced, and each has four bytes for its
/// length.
fn most_elements(count: u64, bytes: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(bytes / 4)
}

/// Bytes in memory that [`read_binary`] takes besides the bytes it reads.
pub fn memory_of_binary(datatype: Datatype, shape: &[u64], bytes: usize) -> u64 {
    match count(shape, datatype) {
        Ok(count) if datatype == Datatype::Bytes => most_elements(count, bytes) as u64 * SHARED_ELEMENT,
        _ => 0,
    }
}

/// Splits the binary form of a BYTES tensor into its elements. Four bytes with its length precede each element.
fn elements(count: u64, mut bytes: Bytes) -> Result<Vec<Bytes>, String> {
    let mut elements = Vec::with_capacity(most_elements(count, bytes.len()));
    for index in 0..count {
        let cut = |what: &str| format!("element {index} of {count} of the BYTES tensor is cut off: {what}");
        let Some((length, _)) = bytes.split_first_chunk::<4>() else {
            return Err(cut("the 4 bytes of its length are missing"));
        };
        let length = u32::from_le_bytes(*length) as usize;
        let _ = bytes.split_to(4);
        if length > bytes.len() {
            return Err(cut(&format!("its length is {length} bytes, but {} bytes remain", bytes.len())));
        }
        elements.push(bytes.split_to(length));
    }
    if bytes.is_empty() {
        return Ok(elements);
    }
    Err(format!("there are {} bytes after the {count} elements of the BYTES tensor", bytes.len()))
}

impl Data {
    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) => bytes.len(),
            Self::Elements(elements) => elements.iter().map(Bytes::len).sum(),
        }
    }

    /// Returns the binary form.
    pub fn to_binary(&self) -> Bytes {
        match self {
            Self::Fixed(bytes) => bytes.clone(),
            Self::Elements(elements) => {
                let mut bytes = BytesMut::with_capacity(elements.iter().map(|element| element.len() + 4).sum());
                for element in elements {
                    bytes.put_u32_le(u32::try_from(element.len()).expect("an element fits in 32-bit linear memory"));
                    bytes.put_slice(element);
                }
                bytes.freeze()
            }
        }
    }
}

impl Tensor {
    /// Converts the tensor to a `wasi:nn` tensor. Integers of a type that `wasi:nn` does not have become the next wider
    /// type that it has.
    ///
    /// # Errors
    /// If `wasi:nn` cannot represent the tensor.
    pub fn to_nn(&self) -> Result<NnTensor, String> {
        let shape =
            || format!("input `{}`: the shape {:?} has a size that exceeds 32 bits", shortened(&self.name), self.shape);
        let dimensions = self.shape.iter().map(|&size| u32::try_from(size)).collect::<Result<Vec<_>, _>>();
        let dimensions = dimensions.map_err(|_| shape())?;
        let Data::Fixed(bytes) = &self.data else {
            return Err(format!("input `{}`: a stage takes numeric tensors, not BYTES", shortened(&self.name)));
        };
        let (ty, data) = match self.datatype {
            Datatype::Bool | Datatype::Uint8 => (TensorType::U8, bytes.to_vec()),
            Datatype::Int32 => (TensorType::I32, bytes.to_vec()),
            Datatype::Int64 => (TensorType::I64, bytes.to_vec()),
            Datatype::Fp16 => (TensorType::Fp16, bytes.to_vec()),
            Datatype::Fp32 => (TensorType::Fp32, bytes.to_vec()),
            Datatype::Fp64 => (TensorType::Fp64, bytes.to_vec()),
            Datatype::Bf16 => (TensorType::Bf16, bytes.to_vec()),
            Datatype::Int8 => (TensorType::I32, widened(bytes, |[byte]| i32::from(byte as i8).to_le_bytes())),
            Datatype::Int16 => {
                (TensorType::I32, widened(bytes, |two| i32::from(i16::from_le_bytes(two)).to_le_bytes()))
            }
            Datatype::Uint16 => {
                (TensorType::I32, widened(bytes, |two| i32::from(u16::from_le_bytes(two)).to_le_bytes()))
            }
            Datatype::Uint32 => {
                (TensorType::I64, widened(bytes, |four| i64::from(u32::from_le_bytes(four)).to_le_bytes()))
            }
            Datatype::Uint64 => {
                let (numbers, _) = bytes.as_chunks::<8>();
                if let Some(large) = numbers.iter().map(|eight| u64::from_le_bytes(*eight)).find(|&n| n >> 63 != 0) {
                    return Err(format!(
                        "input `{}`: a stage takes UINT64 as INT64, but {large} is larger than the maximum of INT64",
                        shortened(&self.name)
                    ));
                }
                (TensorType::I64, bytes.to_vec())
            }
            Datatype::Bytes => unreachable!("BYTES tensors are not `Data::Fixed`"),
        };
        Ok(NnTensor::new(dimensions, ty, data))
    }

    /// Converts an output tensor of a stage.
    pub fn from_nn(name: String, tensor: NnTensor) -> Self {
        let data = std::sync::Arc::try_unwrap(tensor.data).unwrap_or_else(|shared| shared.to_vec());
        Self {
            name,
            datatype: Datatype::from_nn(tensor.ty),
            shape: tensor.dimensions.iter().map(|&size| size.into()).collect(),
            parameters: Parameters::new(),
            data: Data::Fixed(data.into()),
        }
    }
}

fn widened<const FROM: usize, const TO: usize>(bytes: &[u8], widen: impl Fn([u8; FROM]) -> [u8; TO]) -> Vec<u8> {
    let (numbers, _) = bytes.as_chunks::<FROM>();
    numbers.iter().flat_map(|number| widen(*number)).collect()
}
