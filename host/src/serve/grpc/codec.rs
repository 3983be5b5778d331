//! Counts the tensors, parameters and elements of a message before it is decoded. Decoding turns a tensor or a
//! parameter of two bytes on the wire into hundreds of bytes in memory. Without this check, a message within
//! `server.max_body` could take gigabytes before its parts are counted.

use std::any::TypeId;
use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::error::status;
use super::inference::{ModelInferRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use super::reservation::reserve_decoded;
use crate::serve::blocking;
use crate::serve::error::ServeError;
use crate::serve::oip::request::{MAX_PARAMETERS, MAX_TENSORS};
use crate::serve::oip::tensor::{MAX_DIMENSIONS, MAX_ELEMENTS, SHARED_ELEMENT};

/// Maximum BYTES elements in `contents`, of all tensors of a message together.
const ALL_ELEMENTS: usize = 4 * MAX_ELEMENTS as usize;
/// Maximum parameters of a message and its tensors together.
const ALL_PARAMETERS: usize = 16 * MAX_PARAMETERS;
/// Elements of `contents` that take at most this many bytes in memory are decoded before their bytes are reserved. So small
/// requests wait if the budget is spent.
const SMALL: u64 = 256 << 10;
/// Maximum bytes of an encoded shape: a varint has up to ten bytes.
const SHAPE: usize = 10 * MAX_DIMENSIONS;

/// A Protocol Buffers codec. It counts the parts of the messages that may have many.
pub(crate) struct Counted<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Counted<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Counted<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountedDecoder(ProstCodec::<T, U>::raw_decoder(BufferSettings::default()))
    }
}

/// The decoder of [`Counted`].
pub(crate) struct CountedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for CountedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let is = |other: TypeId| TypeId::of::<U>() == other;
        // tonic passes a complete message in one contiguous chunk.
        let bytes = prost::bytes::Buf::chunk(buffer);
        let length = bytes.len();
        let counted = if is(TypeId::of::<ModelInferRequest>()) {
            let mut count = Count::default();
            let counted = count.message(bytes);
            // If its bytes are not free, the message stays in the buffer, and is decoded after they are reserved.
            if counted.is_ok() && count.decoded > SMALL && !reserve_decoded(count.decoded + length as u64)? {
                return Ok(None);
            }
            counted
        } else if is(TypeId::of::<RepositoryModelLoadRequest>()) || is(TypeId::of::<RepositoryModelUnloadRequest>()) {
            count_parameters(bytes)
        } else {
            Ok(())
        };
        counted.map_err(|error| status(&ServeError::invalid(error.to_string())))?;
        // For a message that cannot be decoded, tonic reports an internal error, but the client made the error.
        blocking::run_in_place(length, || self.0.decode(buffer)).map_err(|error| match error.code() {
            Code::Internal => {
                status(&ServeError::invalid(format!("the message cannot be decoded: {}", error.message())))
            }
            _ => error,
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Why a message is refused before it is decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CountError {
    /// It has too many parts of a kind.
    #[error("the message has more than {limit} {what}")]
    TooMany { limit: usize, what: &'static str },
    /// The shape of an input is too long.
    #[error("the shape of an input has more than {MAX_DIMENSIONS} dimensions")]
    Dimensions,
    /// Its bytes are not fields.
    #[error("the message is not a valid message of this protocol")]
    Malformed,
}

/// The number of parts that were found in a message so far. The field numbers below are those of
/// `proto/open_inference.proto`.
#[derive(Default)]
struct Count {
    inputs: usize,
    outputs: usize,
    raw: usize,
    parameters: usize,
    elements: usize,
    /// Bytes in memory of the elements in `contents` while they are decoded.
    decoded: u64,
}

/// Counts the parts of an inference request, for fuzzing.
#[cfg(fuzzing)]
pub(super) fn count(bytes: &[u8]) -> Result<(), CountError> {
    Count::default().message(bytes)
}

/// Counts the parameters (field 3) of a message that loads or unloads a model.
fn count_parameters(bytes: &[u8]) -> Result<(), CountError> {
    let mut parameters = 0;
    for field in Fields(bytes) {
        if field?.0 == 3 {
            add(&mut parameters, MAX_PARAMETERS, "parameters")?;
        }
    }
    Ok(())
}

/// Increments a count.
///
/// # Errors
/// If the count exceeds `limit`.
fn add(count: &mut usize, limit: usize, what: &'static str) -> Result<(), CountError> {
    *count += 1;
    if *count > limit { Err(CountError::TooMany { limit, what }) } else { Ok(()) }
}

impl Count {
    fn message(&mut self, bytes: &[u8]) -> Result<(), CountError> {
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                4 => add(&mut self.parameters, ALL_PARAMETERS, "parameters")?,
                5 => {
                    add(&mut self.inputs, MAX_TENSORS, "inputs")?;
                    self.input(field)?;
                }
                6 => {
                    add(&mut self.outputs, MAX_TENSORS, "outputs")?;
                    for field in Fields(field) {
                        if field?.0 == 2 {
                            add(&mut self.parameters, ALL_PARAMETERS, "parameters")?;
                        }
                    }
                }
                7 => add(&mut self.raw, MAX_TENSORS, "`raw_input_contents`")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn input(&mut self, bytes: &[u8]) -> Result<(), CountError> {
        let mut shape = 0;
        for field in Fields(bytes) {
            let (number, field) = field?;
            match number {
                3 => {
                    shape += field.len().max(1);
                    if shape > SHAPE {
                        return Err(CountError::Dimensions);
                    }
                }
                4 => add(&mut self.parameters, ALL_PARAMETERS, "parameters")?,
                5 => {
                    for field in Fields(field) {
                        let (number, field) = field?;
                        if number == 8 {
                            add(&mut self.elements, ALL_ELEMENTS, "BYTES elements")?;
                        }
                        self.decoded += decoded(number, field);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Bytes in memory of a field of `contents` while it is decoded. The list of its elements doubles when it is full.
fn decoded(number: u64, field: &[u8]) -> u64 {
    // A varint ends with a byte without the highest bit. A field that is not packed has one varint.
    let varints = || field.iter().filter(|byte| **byte < 0x80).count().max(1) as u64;
    2 * match number {
        1 => varints(),
        2 | 4 => 4 * varints(),
        3 | 5 => 8 * varints(),
        6 | 7 => field.len() as u64,
        8 => SHARED_ELEMENT,
        _ => 0,
    }
}

/// Iterates over the fields of a message. Yields the number of each field, and its bytes if the field is
/// length-delimited. Bytes that are not a valid field are an error, and so is a group, which this protocol does not
/// have. The decoder is less strict: it skips groups, and a length that exceeds the enclosing message makes it decode
/// the bytes after that message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, &'a [u8]), CountError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field().ok_or(CountError::Malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, &'a [u8])> {
        let key = self.number()?;
        let field: &[u8] = match key & 7 {
            0 => {
                self.number()?;
                &[]
            }
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                self.skip(length)?
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some((key >> 3, field))
    }

    fn number(&mut self) -> Option<u64> {
        prost::encoding::decode_varint(&mut self.0).ok()
    }

    fn skip(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_groups_and_wrong_lengths_do_not_bypass_the_count() {
        let inputs = [0x2A, 0].repeat(MAX_TENSORS + 1);
        let refused = |bytes: &[u8]| Count::default().message(bytes).expect_err("too many").to_string();
        assert_eq!(refused(&inputs), "the message has more than 1024 inputs");
        // An unknown field of each wire type: a varint, eight bytes, length-delimited, four bytes.
        let before = [&[0x78, 1][..], &[0x79, 1, 2, 3, 4, 5, 6, 7, 8], &[0x7A, 1, 9], &[0x7D, 1, 2, 3, 4]].concat();
        assert_eq!(refused(&[before, inputs.clone()].concat()), "the message has more than 1024 inputs");
        // An unknown group, which the decoder skips.
        let group = [&[0x7B, 0x7C][..], &inputs].concat();
        assert!(ModelInferRequest::decode(&group[..]).is_ok_and(|message| message.inputs.len() > MAX_TENSORS));
        assert!(refused(&group).contains("not a valid message of this protocol"));
        // An input of five bytes whose `contents` has a larger length: the decoder would read the bytes after the
        // input.
        let beyond = [&[0x2A, 5, 0x2A, 0x80, 0x80, 0x80, 0x01][..], &[0x42, 0].repeat(1 << 20)].concat();
        assert!(refused(&beyond).contains("not a valid message of this protocol"));
        // The parameters of a load request.
        let parameters = [0x1A, 0].repeat(MAX_PARAMETERS + 1);
        assert!(count_parameters(&parameters).expect_err("too many").to_string().contains("256 parameters"));
        assert_eq!(Count::default().message(&inputs[2..]), Ok(()));
    }
}
