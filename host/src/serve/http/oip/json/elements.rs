//! Reads the elements of a tensor from JSON directly into the bytes of the tensor.

use std::fmt;

use axum::body::Bytes;
use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::singles::{Singles, may_be_rounded_twice};
use crate::serve::oip::datatype::Datatype;
use crate::serve::oip::tensor::{Data, SHARED_ELEMENT};

/// Why the elements of a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::serve::http::oip) enum ElementsError {
    /// The datatype has no JSON form.
    #[error("{0} has no JSON form; send its bytes with `binary_data_size`")]
    NoJsonForm(Datatype),
    /// It is not a list, or one of the other errors happened at a position in it.
    #[error("{0}")]
    Json(serde_json::Error),
    /// There are fewer elements than the shape has.
    #[error("the shape has {count} elements, `data` has {found}")]
    TooFew { count: u64, found: u64 },
    /// There are more elements than the shape has.
    #[error("the shape has {0} elements, `data` has more")]
    TooMany(u64),
    /// The lists of `data` are nested in another way than the shape says.
    #[error("the nested lists of `data` do not have the shape; nest them as the shape says, or send one flat list")]
    Nested,
    /// The value is not valid for the datatype.
    #[error("{value} is not a valid {datatype} value")]
    Value { value: String, datatype: Datatype },
    /// The value of an integer has another form than that of an integer.
    #[error(
        "{value:?} is not a valid {datatype} value: it has a fraction or an exponent, or more than 64 bits; send an integer"
    )]
    NoInteger { value: f64, datatype: Datatype },
    /// The text of an element is not base64.
    #[error("element {index} is not valid base64: {error}")]
    Base64 { index: u64, error: DecodeError },
}

/// Reads the elements of a tensor, in one list or in lists that are nested as the shape says. `count` is the number of
/// elements of the shape.
///
/// # Errors
/// If the number of elements is not `count`, the lists are nested in another way, an element is not valid for the
/// datatype, or the datatype has no JSON form.
pub(in crate::serve::http::oip) fn read_elements(
    data: &RawValue,
    datatype: Datatype,
    shape: &[u64],
    count: u64,
    base64: bool,
) -> Result<Data, ElementsError> {
    if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
        return Err(ElementsError::NoJsonForm(datatype));
    }
    let most = most_elements(data, count) as usize;
    let (bytes, texts) = match datatype.size() {
        Some(size) => (Vec::with_capacity(most * size as usize), Vec::new()),
        None => (Vec::new(), Vec::with_capacity(most)),
    };
    let mut elements = Elements {
        datatype,
        shape,
        count,
        base64,
        found: 0,
        is_nested: false,
        depth: None,
        is_rounded_twice: false,
        bytes,
        texts,
    };
    let mut deserializer = serde_json::Deserializer::from_str(data.get());
    List { elements: &mut elements, depth: 0 }.deserialize(&mut deserializer).map_err(ElementsError::Json)?;
    if elements.found != count {
        return Err(ElementsError::TooFew { count, found: elements.found });
    }
    if elements.is_rounded_twice {
        elements.bytes.clear();
        let mut deserializer = serde_json::Deserializer::from_str(data.get());
        Singles(&mut elements.bytes).deserialize(&mut deserializer).map_err(ElementsError::Json)?;
    }
    Ok(match datatype {
        Datatype::Bytes => Data::Elements(elements.texts),
        _ => Data::Fixed(elements.bytes.into()),
    })
}

/// Maximum elements that `data` can have: `count` are announced, and each takes at least a digit and a comma.
fn most_elements(data: &RawValue, count: u64) -> u64 {
    count.min(data.get().len() as u64 / 2 + 1)
}

/// Maximum bytes in memory that [`read_elements`] takes. It allocates this much before it reads the elements, so that
/// it never grows.
pub(in crate::serve::http::oip) fn memory_of_elements(data: &RawValue, datatype: Datatype, count: u64) -> u64 {
    match datatype.size() {
        Some(size) => most_elements(data, count) * size,
        None => most_elements(data, count) * OWN_ELEMENT + data.get().len() as u64,
    }
}

/// Bytes in memory of one element of a BYTES tensor that is not empty, in addition to its text: its place in the list,
/// its own allocation, and the count of those that share it.
const OWN_ELEMENT: u64 = SHARED_ELEMENT + 64;

/// The elements read so far.
struct Elements<'s> {
    datatype: Datatype,
    shape: &'s [u64],
    count: u64,
    /// True if there are lists in the list.
    is_nested: bool,
    /// The number of lists around the first element, and so around each element.
    depth: Option<usize>,
    base64: bool,
    found: u64,
    /// True if a number of single precision may be another one than that next to its text, because it was rounded to a double
    /// first.
    is_rounded_twice: bool,
    bytes: Vec<u8>,
    texts: Vec<Bytes>,
}

impl Elements<'_> {
    /// Checks the lists around an element.
    fn place(&mut self, depth: usize) -> Result<(), ElementsError> {
        let is_expected = *self.depth.get_or_insert(depth) == depth && (depth <= 1 || depth == self.shape.len());
        if is_expected { Ok(()) } else { Err(ElementsError::Nested) }
    }

    /// Checks a list that is complete. A list that is not nested has any length: its elements are counted.
    fn close(&mut self, depth: usize, length: u64) -> Result<(), ElementsError> {
        self.is_nested |= depth > 0;
        if !self.is_nested || self.shape.get(depth) == Some(&length) { Ok(()) } else { Err(ElementsError::Nested) }
    }

    fn count_one(&mut self) -> Result<(), ElementsError> {
        self.found += 1;
        if self.found > self.count { Err(ElementsError::TooMany(self.count)) } else { Ok(()) }
    }

    /// The error for a value that the datatype does not have.
    fn invalid(&self, value: &dyn fmt::Display) -> ElementsError {
        ElementsError::Value { value: value.to_string(), datatype: self.datatype }
    }

    fn integer(&mut self, value: i128) -> Result<(), ElementsError> {
        self.count_one()?;
        macro_rules! put {
            ($ty:ty) => {
                self.bytes.extend_from_slice(&<$ty>::try_from(value).map_err(|_| self.invalid(&value))?.to_le_bytes())
            };
        }
        match self.datatype {
            Datatype::Bool if (0..=1).contains(&value) => self.bytes.push(value as u8),
            Datatype::Uint8 => put!(u8),
            Datatype::Uint16 => put!(u16),
            Datatype::Uint32 => put!(u32),
            Datatype::Uint64 => put!(u64),
            Datatype::Int8 => put!(i8),
            Datatype::Int16 => put!(i16),
            Datatype::Int32 => put!(i32),
            Datatype::Int64 => put!(i64),
            Datatype::Fp32 => self.bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            Datatype::Fp64 => self.bytes.extend_from_slice(&(value as f64).to_le_bytes()),
            Datatype::Bool | Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => return Err(self.invalid(&value)),
        }
        Ok(())
    }

    fn number(&mut self, value: f64) -> Result<(), ElementsError> {
        self.count_one()?;
        match self.datatype {
            Datatype::Fp32 => {
                let narrow = value as f32;
                if narrow.is_infinite() {
                    return Err(self.invalid(&value));
                }
                self.is_rounded_twice |= may_be_rounded_twice(value, narrow);
                self.bytes.extend_from_slice(&narrow.to_le_bytes());
            }
            Datatype::Fp64 => self.bytes.extend_from_slice(&value.to_le_bytes()),
            Datatype::Bool | Datatype::Bytes => return Err(self.invalid(&value)),
            datatype => return Err(ElementsError::NoInteger { value, datatype }),
        }
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<(), ElementsError> {
        if self.datatype != Datatype::Bool {
            return Err(self.invalid(&value));
        }
        self.integer(value.into())
    }

    fn text(&mut self, value: &str) -> Result<(), ElementsError> {
        self.count_one()?;
        if self.datatype != Datatype::Bytes {
            return Err(self.invalid(&"a string"));
        }
        let bytes = if self.base64 {
            let decoded = STANDARD.decode(value);
            decoded.map_err(|error| ElementsError::Base64 { index: self.found - 1, error })?
        } else {
            value.as_bytes().to_vec()
        };
        self.texts.push(bytes.into());
        Ok(())
    }
}

/// A list of elements or of lists. serde_json limits the nesting depth.
struct List<'a, 's> {
    elements: &'a mut Elements<'s>,
    /// The number of lists around it.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements in a list or in nested lists", self.elements.datatype)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut length = 0;
        while seq.next_element_seed(List { elements: &mut *self.elements, depth: self.depth + 1 })?.is_some() {
            length += 1;
        }
        self.elements.close(self.depth, length).map_err(A::Error::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.elements.place(self.depth).and_then(|()| self.elements.boolean(value)).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.elements.place(self.depth).and_then(|()| self.elements.integer(value.into())).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.elements.place(self.depth).and_then(|()| self.elements.integer(value.into())).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.elements.place(self.depth).and_then(|()| self.elements.number(value)).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.elements.place(self.depth).and_then(|()| self.elements.text(value)).map_err(E::custom)
    }
}
