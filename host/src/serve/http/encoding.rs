//! `Content-Encoding`: decompresses request bodies and compresses replies.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::bufread::{GzDecoder, ZlibDecoder};
use flate2::read::{GzEncoder, ZlibEncoder};
use plimsoll_runtime::text::shortened;

use super::body::{Limits, make_room};
use super::work::Work;
use crate::serve::admission::BodyBytes;
use crate::serve::blocking;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::headers::text;

/// The first step of a decompression, in bytes. It runs on the calling thread if the body is small.
const FIRST_STEP: u64 = 64 << 10;
/// Larger compressed bodies, in bytes, are decompressed on another thread. The size of the result is no measure of the
/// work: an empty part of a body (a gzip member, a block of deflate) takes up to a microsecond for 15 bytes.
const SMALL: usize = 16 << 10;
/// The decoder gets a compressed body in pieces of this many bytes. Between them the time is checked.
const PIECE: usize = 16 << 10;
/// Maximum number of members of gzip. Blocked gzip has one for each 64 KiB.
const MAX_MEMBERS: u32 = 16_384;
/// Maximum bytes by which the memory of a decompressed body grows at once.
const MAX_STEP: u64 = 4 << 20;

/// A compressed body of which the decoder takes one piece at a time, until a deadline.
struct Packed {
    body: Bytes,
    until: Instant,
    work: Arc<Work>,
}

/// The request's time passed while its body was decompressed.
#[derive(Debug, thiserror::Error)]
#[error("the time of the request passed while its body was decompressed")]
struct TooSlow;

/// The body is made so that its decompression is much work.
#[derive(Debug, thiserror::Error)]
#[error("the body takes too much CPU time to decompress for its size; send it without `Content-Encoding`")]
struct TooMuchWork;

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if Instant::now() >= self.until {
            return Err(io::Error::other(TooSlow));
        }
        if self.work.is_too_much() {
            return Err(io::Error::other(TooMuchWork));
        }
        Ok(&self.body[..self.body.len().min(PIECE)])
    }

    fn consume(&mut self, bytes: usize) {
        let _ = self.body.split_to(bytes);
    }
}

/// Decompresses zlib data that nothing may follow. The decoder alone ignores what follows.
struct WholeZlib(ZlibDecoder<Packed>);

impl Read for WholeZlib {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        if read == 0 && !buffer.is_empty() && !self.0.get_ref().body.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow the end of the compressed data"));
        }
        Ok(read)
    }
}

/// Decompresses gzip, which may have several members.
struct Members {
    decoder: GzDecoder<Packed>,
    count: u32,
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.decoder.get_ref().body.is_empty() {
                return Ok(read);
            }
            self.count += 1;
            if self.count > MAX_MEMBERS {
                let why = format!("it has more than {MAX_MEMBERS} members");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let Packed { body, until, work } = self.decoder.get_ref();
            let rest = Packed { body: body.clone(), until: *until, work: Arc::clone(work) };
            self.decoder.reset(rest);
        }
    }
}

/// Refuses a compressed body, for a route that does not decompress. Otherwise its bytes would be taken for something that the
/// caller did not send.
///
/// # Errors
/// If the request has another `Content-Encoding` than `identity`.
pub(super) fn refuse_packed(headers: &HeaderMap) -> Result<(), ServeError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut others = encodings.filter(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    let Some(other) = others.next() else { return Ok(()) };
    let other = shortened(&String::from_utf8_lossy(other.as_bytes()));
    let detail = format!("Content-Encoding `{other}` is not supported by this route; send the body as it is");
    Err(ServeError::new(ErrorKind::UnsupportedEncoding, detail))
}

/// Decompresses the body according to `Content-Encoding`. `reserved` grows with the decompressed body, and shrinks to it
/// at the end.
///
/// # Errors
/// If the encoding is not supported, the body is not valid in it, the decompressed body is larger than the limit, the
/// budget is spent, or the time of the request is over.
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
    let is_small = body.len() < SMALL;
    let (work, whole) = (Arc::new(Work::default()), body.len() as u64);
    // A decoder of gzip reads the head of the body when it is made.
    work.begin(whole);
    let until = limits.deadline.unwrap_or_else(|| Instant::now() + limits.time);
    let body = Packed { body, until, work: Arc::clone(&work) };
    let mut decoder: Box<dyn Read + Send> = match encoding.as_str() {
        "gzip" | "x-gzip" => Box::new(Members { decoder: GzDecoder::new(body), count: 1 }),
        "deflate" => Box::new(WholeZlib(ZlibDecoder::new(body))),
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
        let end = (length + step).min(limits.size.saturating_add(1));
        if length >= end {
            return Err(limits.too_large());
        }
        reserved.grow(packed.saturating_add(end)).await?;
        make_room(&mut unpacked, end)?;
        let work = Arc::clone(&work);
        let decompress = move || {
            work.begin(whole + length);
            let read = decoder.by_ref().take(end - length).read_to_end(&mut unpacked);
            work.end();
            (decoder, unpacked, read)
        };
        let cost = if length == 0 && is_small { 0 } else { blocking::LARGE };
        let read;
        (decoder, unpacked, read) = blocking::run(cost, decompress).await;
        let read = read.map_err(|error| match error.get_ref() {
            Some(why) if why.is::<TooSlow>() => {
                ServeError::new(ErrorKind::BodyTimeout, format!("{TooSlow}; send it without `Content-Encoding`"))
            }
            Some(why) if why.is::<TooMuchWork>() => ServeError::invalid(TooMuchWork.to_string()),
            _ => ServeError::invalid(format!("the body cannot be decompressed as `Content-Encoding` says: {error}")),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flate2::Compression;

    use super::*;

    /// A body whose decompression takes long ends at the deadline, or when it has taken too much CPU time, also if it has no
    /// contents.
    #[test]
    fn decompression_ends_at_the_deadline_and_when_it_is_too_much_work() {
        let contents = vec![7; 1 << 20];
        let [mut gzip, mut zlib] = [Vec::new(), Vec::new()];
        GzEncoder::new(&contents[..], Compression::none()).read_to_end(&mut gzip).expect("memory");
        ZlibEncoder::new(&contents[..], Compression::none()).read_to_end(&mut zlib).expect("memory");
        let decoders = |until: Instant, work: &Arc<Work>| -> [Box<dyn Read>; 2] {
            let packed = |body: &Vec<u8>| Packed { body: Bytes::from(body.clone()), until, work: Arc::clone(work) };
            let [gzip, zlib] = [&gzip, &zlib].map(packed);
            [Box::new(Members { decoder: GzDecoder::new(gzip), count: 1 }), Box::new(WholeZlib(ZlibDecoder::new(zlib)))]
        };
        let later = Instant::now() + Duration::from_secs(600);
        let work = Arc::new(Work::default());
        work.begin(2 << 20);
        for mut decoder in decoders(later, &work) {
            let mut unpacked = Vec::new();
            decoder.read_to_end(&mut unpacked).expect("there is time");
            assert!(unpacked == contents);
        }
        for mut decoder in decoders(Instant::now(), &work) {
            let error = decoder.read_to_end(&mut Vec::new()).expect_err("late");
            assert!(error.get_ref().is_some_and(|why| why.is::<TooSlow>()), "{error}");
        }
        work.spend(Duration::from_secs(60));
        for mut decoder in decoders(later, &work) {
            let error = decoder.read_to_end(&mut Vec::new()).expect_err("too much work");
            assert!(error.get_ref().is_some_and(|why| why.is::<TooMuchWork>()), "{error}");
        }
    }
}
