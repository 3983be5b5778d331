//! The binary form of a tensor's elements: in the binary part of a body, and in `raw_input_contents`. Reading it does not
//! copy it: the tensor shares the memory of the request body.

use bytes::{BufMut, Bytes, BytesMut};

use super::datatype::Datatype;
use super::tensor::{Data, SHARED_ELEMENT, TensorError, count};

/// Why the binary form of a tensor cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// The shape is not valid.
    #[error(transparent)]
    Shape(#[from] TensorError),
    /// The shape needs another number of bytes.
    #[error("the shape {shape:?} of {datatype} needs {needed} bytes, but {given} were given")]
    Length {
        /// The sizes of the dimensions.
        shape: Vec<u64>,
        /// The datatype.
        datatype: Datatype,
        /// The bytes of the elements.
        needed: u64,
        /// The bytes that were given.
        given: usize,
    },
    /// A byte of a BOOL tensor is neither 0 nor 1.
    #[error("a BOOL element must be the byte 0 or 1, not {0}")]
    Bool(u8),
    /// The bytes end inside the length of a BYTES element.
    #[error("element {index} of {count} of the BYTES tensor is cut off: the 4 bytes of its length are missing")]
    NoLength {
        /// The element, from 0.
        index: u64,
        /// All elements.
        count: u64,
    },
    /// The bytes end inside a BYTES element.
    #[error(
        "element {index} of {count} of the BYTES tensor is cut off: its length is {length} bytes, but {left} bytes remain"
    )]
    CutOff {
        /// The element, from 0.
        index: u64,
        /// All elements.
        count: u64,
        /// Its length.
        length: usize,
        /// The bytes after its length.
        left: usize,
    },
    /// There are more bytes after the last BYTES element.
    #[error("there are {left} bytes after the {count} elements of the BYTES tensor")]
    BytesAfter {
        /// The bytes after the last element.
        left: usize,
        /// The elements.
        count: u64,
    },
}

/// Reads the binary form of a tensor's elements.
///
/// # Errors
/// If the bytes do not match the shape and the datatype.
pub fn read_binary(datatype: Datatype, shape: &[u64], bytes: Bytes) -> Result<Data, BinaryError> {
    let count = count(shape, datatype)?;
    let Some(size) = datatype.size() else { return elements(count, bytes).map(Data::Elements) };
    if bytes.len() as u64 != count * size {
        let (shape, needed, given) = (shape.to_vec(), count * size, bytes.len());
        return Err(BinaryError::Length { shape, datatype, needed, given });
    }
    if datatype == Datatype::Bool
        && let Some(other) = bytes.iter().find(|byte| **byte > 1)
    {
        return Err(BinaryError::Bool(*other));
    }
    Ok(Data::Fixed(bytes))
}

/// Maximum elements that the binary form of a BYTES tensor can have: `count` are announced, and each has four bytes for
/// its length.
fn most_elements(count: u64, bytes: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(bytes / 4)
}

/// Bytes in memory that [`read_binary`] needs in addition to its input.
pub fn memory_of_binary(datatype: Datatype, shape: &[u64], bytes: usize) -> u64 {
    match count(shape, datatype) {
        Ok(count) if datatype == Datatype::Bytes => most_elements(count, bytes) as u64 * SHARED_ELEMENT,
        _ => 0,
    }
}

/// Splits the binary form of a BYTES tensor into its elements. Four bytes with its length precede each element.
fn elements(count: u64, mut bytes: Bytes) -> Result<Vec<Bytes>, BinaryError> {
    let mut elements = Vec::with_capacity(most_elements(count, bytes.len()));
    for index in 0..count {
        let Some((length, _)) = bytes.split_first_chunk::<4>() else {
            return Err(BinaryError::NoLength { index, count });
        };
        let length = u32::from_le_bytes(*length) as usize;
        let _ = bytes.split_to(4);
        if length > bytes.len() {
            return Err(BinaryError::CutOff { index, count, length, left: bytes.len() });
        }
        elements.push(bytes.split_to(length));
    }
    if bytes.is_empty() {
        return Ok(elements);
    }
    Err(BinaryError::BytesAfter { left: bytes.len(), count })
}

/// Returns the binary form of the elements.
pub fn write_binary(data: &Data) -> Bytes {
    let elements = match data {
        Data::Fixed(bytes) => return bytes.clone(),
        Data::Elements(elements) => elements,
    };
    let mut bytes = BytesMut::with_capacity(elements.iter().map(|element| element.len() + 4).sum());
    for element in elements {
        bytes.put_u32_le(length_of(element));
        bytes.put_slice(element);
    }
    bytes.freeze()
}

#[expect(
    clippy::expect_used,
    reason = "an element fits in 32-bit linear memory: a guest made it, or it is a short error"
)]
fn length_of(element: &Bytes) -> u32 {
    u32::try_from(element.len()).expect("an element fits in 32-bit linear memory")
}
