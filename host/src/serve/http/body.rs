//! Request and reply bodies. A body is received within the memory budget, the size limit and the time-out, and is
//! decompressed within the same size limit.

use std::io::Read;
use std::pin::{Pin, pin};
use std::time::Instant;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use plimsoll_runtime::text::shortened;
use tokio::sync::OwnedSemaphorePermit;

use crate::serve::App;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::headers::text;

/// Reads the whole body. Returns it with its permit on the memory budget: the `Content-Length`, or all of `max_body` if
/// the body is compressed or has no `Content-Length`, because its size in memory is then unknown.
///
/// # Errors
/// If the budget is used up, or the body is too large, too slow, or cannot be received.
pub(super) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    deadline: Instant,
) -> Result<(Bytes, OwnedSemaphorePermit), ServeError> {
    let limit = app.server.max_body.as_u64();
    let declared = text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let packed = headers.contains_key(header::CONTENT_ENCODING);
    let budget = app.admission.reserve_body(declared.filter(|_| !packed).unwrap_or(limit))?;

    let read = read(body, declared, limit);
    let until = deadline.min(Instant::now() + app.server.body_timeout);
    match tokio::time::timeout_at(until.into(), read).await {
        Ok(Ok(body)) => Ok((body, budget)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(error)) => Err(ServeError::invalid(format!("the body could not be received: {error}"))),
        Err(_) => {
            let detail =
                format!("the body did not arrive within {:?} (`server.body_timeout`)", app.server.body_timeout);
            Err(ServeError::new(ErrorKind::BodyTimeout, detail))
        }
    }
}

/// A body with a `Content-Length` of at least this many bytes gets its own memory mapping.
const OWN_PAGES: usize = 512 << 10;

/// Reads a body to its end. A body that arrives in a single piece is not copied. A body with a `Content-Length` is
/// never in memory twice.
async fn read(body: Body, declared: Option<u64>, limit: u64) -> Result<Bytes, BoxError> {
    let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let mut pieces = pin!(Limited::new(body, bytes(limit)));
    // The announced length is within the limit, and the mapping uses no memory before the bytes arrive. The allocator
    // would keep the memory of large bodies in an arena for each thread that received one. A separate mapping is
    // returned to the kernel.
    if let Some(declared) = declared.map(bytes)
        && declared >= OWN_PAGES
        && let Ok(mut whole) = memmap2::MmapMut::map_anon(declared)
    {
        let mut filled = 0;
        while let Some(piece) = next(&mut pieces).await? {
            let end = filled + piece.len();
            whole.get_mut(filled..end).ok_or("it is longer than its `Content-Length`")?.copy_from_slice(&piece);
            filled = end;
        }
        return Ok(Bytes::from_owner(whole).slice(..filled));
    }
    let (mut first, mut whole) = (Bytes::new(), Vec::new());
    while let Some(piece) = next(&mut pieces).await? {
        if first.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.reserve_exact(declared.map_or(0, bytes).max(first.len() + piece.len()));
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}

/// Returns the next piece of the body that has data, or `None` at the end.
async fn next(body: &mut Pin<&mut Limited<Body>>) -> Result<Option<Bytes>, BoxError> {
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            _ => {}
        }
    }
    Ok(None)
}

/// Decompresses the body according to `Content-Encoding`, on a thread for blocking work.
///
/// # Errors
/// If the encoding is not supported, the body is not valid in it, or the decompressed body is larger than the limit.
pub(super) async fn unpack(app: &App, headers: &HeaderMap, body: Bytes) -> Result<Bytes, ServeError> {
    let limit = app.server.max_body.as_u64();
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encodings: Vec<_> = encodings.map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase()).collect();
    let encoding = match encodings.as_slice() {
        [] => return Ok(body),
        [only] if only == "identity" => return Ok(body),
        [only] => only.clone(),
        several => several.join(", "),
    };
    let unpacking = move || {
        let broken = |error: std::io::Error| {
            ServeError::invalid(format!("the body cannot be decompressed as `Content-Encoding` says: {error}"))
        };
        let mut unpacked = Vec::new();
        let read = match encoding.as_str() {
            "gzip" | "x-gzip" => {
                flate2::read::MultiGzDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut unpacked)
            }
            "deflate" => flate2::read::ZlibDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut unpacked),
            other => {
                let other = shortened(other);
                let detail = format!("Content-Encoding `{other}` is not supported; use `gzip` or `deflate`");
                return Err(ServeError::new(ErrorKind::UnsupportedEncoding, detail));
            }
        };
        read.map_err(broken)?;
        if unpacked.len() as u64 > limit { Err(too_large(limit)) } else { Ok(unpacked.into()) }
    };
    tokio::task::spawn_blocking(unpacking).await.expect("unpacking does not panic")
}

/// Compresses a reply according to `Accept-Encoding`. Returns the name of the encoding and the compressed body, or
/// `None` if the reply is sent uncompressed.
pub(super) fn pack(headers: &HeaderMap, body: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    /// Shorter replies, in bytes, hardly shrink or even grow when they are compressed.
    const WORTH_IT: usize = 256;
    if body.len() < WORTH_IT {
        return None;
    }
    let accepted = text(headers, &header::ACCEPT_ENCODING)?.to_ascii_lowercase();
    let accepts = |wanted: &str| {
        accepted.split(',').any(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>() == Ok(0.0));
            name.trim() == wanted && !refused
        })
    };
    let level = flate2::Compression::fast();
    let mut packed = Vec::new();
    let (name, read) = if accepts("gzip") {
        ("gzip", flate2::read::GzEncoder::new(body, level).read_to_end(&mut packed))
    } else if accepts("deflate") {
        ("deflate", flate2::read::ZlibEncoder::new(body, level).read_to_end(&mut packed))
    } else {
        return None;
    };
    read.ok().map(|_| (name, packed))
}

fn too_large(limit: u64) -> ServeError {
    let detail = format!("the body is larger than {limit} bytes (`server.max_body`)");
    ServeError::new(ErrorKind::BodyTooLarge, detail)
}
