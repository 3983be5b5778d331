//! Bodies: received within the budget, the limit and the time; unpacked within the same limit.

use std::io::Read;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;

use super::admission::Refused;
use super::problem::Problem;
use super::reply::text;
use crate::app::App;
use crate::stage::Outcome;

/// A body, read whole, and its part of the budget: what was announced, or all of `max_body` where that says nothing
/// of what it will hold.
///
/// # Errors
/// There is no room, or it is too large, too slow, or breaks off.
pub(super) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    deadline: Instant,
) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
    let limit = app.server.max_body.as_u64();
    let declared = text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let packed = headers.contains_key(header::CONTENT_ENCODING);
    let budget = app.admission.body(declared.filter(|_| !packed).unwrap_or(limit)).map_err(Refused::from)?;

    let read = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX));
    let until = deadline.min(Instant::now() + app.server.body_timeout);
    match tokio::time::timeout_at(until.into(), read).await {
        Ok(Ok(body)) => Ok((body, budget)),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large(limit)),
        Ok(Err(error)) => {
            let detail = format!("the body broke off: {error}");
            Err((Outcome::InvalidInput, Problem::new(StatusCode::BAD_REQUEST, "invalid_input", detail)))
        }
        Err(_) => {
            let detail =
                format!("the body did not arrive within {:?} (`server.body_timeout`)", app.server.body_timeout);
            Err((Outcome::Deadline, Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)))
        }
    }
}

/// Unpacks what `Content-Encoding` says, on a thread for blocking work.
///
/// # Errors
/// An encoding that is not known, a body that is not in it, or more bytes than the limit.
pub(super) async fn unpack(app: &App, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refused> {
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
            let detail = format!("the body is not what `Content-Encoding` says: {error}");
            (Outcome::InvalidInput, Problem::new(StatusCode::BAD_REQUEST, "invalid_input", detail))
        };
        let mut unpacked = Vec::new();
        let read = match encoding.as_str() {
            "gzip" | "x-gzip" => {
                flate2::read::MultiGzDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut unpacked)
            }
            "deflate" => flate2::read::ZlibDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut unpacked),
            other => {
                let other = crate::oip::tensor::shown(other);
                let detail = format!("there is no Content-Encoding `{other}` here; `gzip` and `deflate` are unpacked");
                let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
                return Err((Outcome::UnsupportedMediaType, problem));
            }
        };
        read.map_err(broken)?;
        if unpacked.len() as u64 > limit { Err(too_large(limit)) } else { Ok(unpacked.into()) }
    };
    tokio::task::spawn_blocking(unpacking).await.expect("unpacking does not panic")
}

/// Packs a reply as `Accept-Encoding` has it; gives the encoding's name. `None`: it goes as it is.
pub(super) fn pack(headers: &HeaderMap, body: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    /// Shorter replies grow by packing, or hardly shrink.
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

fn too_large(limit: u64) -> Refused {
    let detail = format!("the body is larger than {limit} bytes (`server.max_body`)");
    (Outcome::TooLarge, Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail))
}

fn is_length_limit(error: &axum::Error) -> bool {
    use std::error::Error;
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}
