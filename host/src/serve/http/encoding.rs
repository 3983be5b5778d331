//! `Content-Encoding`: decompresses request bodies and compresses replies.

use std::io::{self, Cursor, Read};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::bufread::ZlibDecoder;
use flate2::read::{GzEncoder, MultiGzDecoder, ZlibEncoder};
use plimsoll_runtime::text::shortened;

use super::body::{Limits, make_room};
use crate::serve::admission::BodyBytes;
use crate::serve::blocking;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::headers::text;

/// The first step of a decompression, in bytes. It runs on the calling thread.
const FIRST_STEP: u64 = 64 << 10;
/// Maximum bytes by which the memory of a decompressed body grows at once.
const MAX_STEP: u64 = 4 << 20;

/// Decompresses zlib data that nothing may follow. The decoder alone ignores what follows.
struct WholeZlib(ZlibDecoder<Cursor<Bytes>>);

impl Read for WholeZlib {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        let input = self.0.get_ref();
        if read == 0 && !buffer.is_empty() && input.position() < input.get_ref().len() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow the end of the compressed data"));
        }
        Ok(read)
    }
}

/// Decompresses the body according to `Content-Encoding`. `reserved` grows with the decompressed body, and shrinks to it
/// at the end.
///
/// # Errors
/// If the encoding is not supported, the body is not valid in it, the decompressed body is larger than the limit, or the
/// budget is spent.
pub(super) async fn unpack(
    headers: &HeaderMap,
    body: Bytes,
    limits: &Limits,
    reserved: &mut BodyBytes,
) -> Result<Bytes, ServeError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encodings: Vec<_> = encodings.map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase()).collect();
    let encoding = match encodings.as_slice() {
        [] => return Ok(body),
        [only] if only == "identity" => {
            reserved.complete();
            return Ok(body);
        }
        [only] => only.clone(),
        several => several.join(", "),
    };
    let packed = reserved.bytes();
    let mut decoder: Box<dyn Read + Send> = match encoding.as_str() {
        "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(Cursor::new(body))),
        "deflate" => Box::new(WholeZlib(ZlibDecoder::new(Cursor::new(body)))),
        other => {
            let other = shortened(other);
            let detail = format!("Content-Encoding `{other}` is not supported; use `gzip` or `deflate`");
            return Err(ServeError::new(ErrorKind::UnsupportedEncoding, detail));
        }
    };
    let mut unpacked = Vec::new();
    loop {
        let length = unpacked.len() as u64;
        let step = if length == 0 { FIRST_STEP } else { length.min(MAX_STEP) };
        // One byte more than the limit, which shows that the body is too large.
        let end = (length + step).min(limits.size + 1);
        if length >= end {
            return Err(limits.too_large());
        }
        reserved.grow(packed.saturating_add(end)).await?;
        make_room(&mut unpacked, end)?;
        let decompress = move || {
            let read = decoder.by_ref().take(end - length).read_to_end(&mut unpacked);
            (decoder, unpacked, read)
        };
        let cost = if length == 0 { 0 } else { blocking::LARGE };
        let read;
        (decoder, unpacked, read) = blocking::run(cost, decompress).await;
        let read = read.map_err(|error| {
            ServeError::invalid(format!("the body cannot be decompressed as `Content-Encoding` says: {error}"))
        })?;
        if (read as u64) < end - length {
            break;
        }
    }
    drop(decoder);
    reserved.complete();
    reserved.shrink(unpacked.capacity() as u64);
    Ok(unpacked.into())
}

/// An encoding of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
}

/// The encoding that a client accepts for its reply, if any.
pub(super) fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    let accepted = text(headers, &header::ACCEPT_ENCODING)?.to_ascii_lowercase();
    let accepts = |wanted: &str| {
        accepted.split(',').any(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>() == Ok(0.0));
            name.trim() == wanted && !refused
        })
    };
    [Encoding::Gzip, Encoding::Deflate].into_iter().find(|encoding| accepts(encoding.name()))
}

impl Encoding {
    /// The name in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Compresses a reply. Returns `None` if it is too short to shrink.
    pub(super) fn pack(self, body: &[u8]) -> Option<Vec<u8>> {
        /// Shorter replies, in bytes, hardly shrink or even grow when they are compressed.
        const WORTH_IT: usize = 256;
        if body.len() < WORTH_IT {
            return None;
        }
        let level = flate2::Compression::fast();
        let mut packed = Vec::new();
        let read = match self {
            Self::Gzip => GzEncoder::new(body, level).read_to_end(&mut packed),
            Self::Deflate => ZlibEncoder::new(body, level).read_to_end(&mut packed),
        };
        read.ok().map(|_| packed)
    }
}
