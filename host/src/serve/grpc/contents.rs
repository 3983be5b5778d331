//! The elements of tensors in the typed fields of messages (`contents`).

use bytes::{BufMut, BytesMut};

use super::inference::InferTensorContents;
use crate::serve::oip::datatype::Datatype;
use crate::serve::oip::tensor::{Data, Tensor};

/// Why the elements of an input cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentsError {
    /// The shape has another number of elements.
    #[error("the shape has {count} elements, but the field of {datatype} in `contents` has {found}")]
    Count { count: u64, datatype: Datatype, found: usize },
    /// Another field has elements, too: one of the two would be ignored.
    #[error("`{field}` has elements, but the elements of {datatype} are in `{own}`; leave the other fields empty")]
    OtherField { field: &'static str, datatype: Datatype, own: &'static str },
    /// A value is out of range for the datatype.
    #[error("a value is out of range for {0}")]
    OutOfRange(Datatype),
    /// The datatype has no field.
    #[error("{0} has no field in `contents`; send it in `raw_input_contents`")]
    NoField(Datatype),
}

/// The fields with their numbers of elements.
fn fields(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

/// The field of a datatype.
fn field_of(datatype: Datatype) -> Result<&'static str, ContentsError> {
    Ok(match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 | Datatype::Bf16 => return Err(ContentsError::NoField(datatype)),
    })
}

/// Bytes in memory of the decoded elements, and of those to which [`read`] converts them.
pub(super) fn memory_of(contents: &InferTensorContents) -> u64 {
    fn bytes<T>(list: &Vec<T>) -> u64 {
        ((list.capacity() + list.len()) * size_of::<T>()) as u64
    }
    bytes(&contents.bool_contents)
        + bytes(&contents.int_contents)
        + bytes(&contents.int64_contents)
        + bytes(&contents.uint_contents)
        + bytes(&contents.uint64_contents)
        + bytes(&contents.fp32_contents)
        + bytes(&contents.fp64_contents)
        + bytes(&contents.bytes_contents)
}

/// Reads the elements from the field of their datatype.
///
/// # Errors
/// If the field has another number of elements, or a value that the datatype does not have, or another field has elements.
pub(super) fn read(datatype: Datatype, count: u64, contents: InferTensorContents) -> Result<Data, ContentsError> {
    let own = field_of(datatype)?;
    let mut found = 0;
    for (field, elements) in fields(&contents) {
        if field == own {
            found = elements;
        } else if elements > 0 {
            return Err(ContentsError::OtherField { field, datatype, own });
        }
    }
    if found as u64 != count {
        return Err(ContentsError::Count { count, datatype, found });
    }
    fn numbers<T: Copy, const SIZE: usize>(
        values: &[T],
        bytes: impl Fn(T) -> Option<[u8; SIZE]>,
        datatype: Datatype,
    ) -> Result<Data, ContentsError> {
        let mut data = BytesMut::with_capacity(values.len() * SIZE);
        for value in values {
            data.put_slice(&bytes(*value).ok_or(ContentsError::OutOfRange(datatype))?);
        }
        Ok(Data::Fixed(data.freeze()))
    }
    let InferTensorContents {
        bool_contents: bools,
        int_contents: ints,
        int64_contents: longs,
        uint_contents: uints,
        uint64_contents: ulongs,
        fp32_contents: floats,
        fp64_contents: doubles,
        bytes_contents: elements,
    } = contents;
    match datatype {
        Datatype::Bool => numbers(&bools, |value| Some([u8::from(value)]), datatype),
        Datatype::Int8 => numbers(&ints, |value| i8::try_from(value).ok().map(i8::to_le_bytes), datatype),
        Datatype::Int16 => numbers(&ints, |value| i16::try_from(value).ok().map(i16::to_le_bytes), datatype),
        Datatype::Int32 => numbers(&ints, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Int64 => numbers(&longs, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Uint8 => numbers(&uints, |value| u8::try_from(value).ok().map(u8::to_le_bytes), datatype),
        Datatype::Uint16 => numbers(&uints, |value| u16::try_from(value).ok().map(u16::to_le_bytes), datatype),
        Datatype::Uint32 => numbers(&uints, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Uint64 => numbers(&ulongs, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Fp32 => numbers(&floats, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Fp64 => numbers(&doubles, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Bytes => Ok(Data::Elements(elements)),
        Datatype::Fp16 | Datatype::Bf16 => unreachable!("refused above"),
    }
}

/// Writes the elements to the field of their datatype.
pub(super) fn write(tensor: &Tensor) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    let bytes = match &tensor.data {
        Data::Fixed(bytes) => bytes,
        Data::Elements(elements) => {
            contents.bytes_contents.clone_from(elements);
            return contents;
        }
    };
    macro_rules! numbers {
        ($ty:ty) => {
            bytes
                .as_chunks::<{ size_of::<$ty>() }>()
                .0
                .iter()
                .map(|number| <$ty>::from_le_bytes(*number).into())
                .collect()
        };
    }
    match tensor.datatype {
        Datatype::Bool => contents.bool_contents = bytes.iter().map(|byte| *byte != 0).collect(),
        Datatype::Uint8 => contents.uint_contents = numbers!(u8),
        Datatype::Uint16 => contents.uint_contents = numbers!(u16),
        Datatype::Uint32 => contents.uint_contents = numbers!(u32),
        Datatype::Uint64 => contents.uint64_contents = numbers!(u64),
        Datatype::Int8 => contents.int_contents = numbers!(i8),
        Datatype::Int16 => contents.int_contents = numbers!(i16),
        Datatype::Int32 => contents.int_contents = numbers!(i32),
        Datatype::Int64 => contents.int64_contents = numbers!(i64),
        Datatype::Fp32 => contents.fp32_contents = numbers!(f32),
        Datatype::Fp64 => contents.fp64_contents = numbers!(f64),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => {
            unreachable!("FP16 and BF16 are sent raw, BYTES are handled above")
        }
    }
    contents
}
