//! Forms: `multipart/form-data` (RFC 7578), as browsers and the clients of form-based services send a file.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::http::header;
use multer::{Constraints, Multipart};
use plimsoll_runtime::text::shortened;

use super::disposition::Disposition;
use crate::serve::error::{ErrorKind, ServeError};

/// Maximum number of text fields.
const MAX_FIELDS: usize = 64;
/// Maximum bytes of one text field, and of the `Content-Disposition` and the media type of a part.
const MAX_FIELD_BYTES: usize = 8 << 10;
/// Maximum number of parts, with those of file fields in which no file was chosen.
const MAX_PARTS: usize = 2 * MAX_FIELDS;

/// The contents of a form.
pub(super) struct Form {
    /// The bytes of the file.
    pub(super) file: Bytes,
    /// The media type of the file, if the form states it.
    pub(super) content_type: Option<String>,
    /// The text fields, which are passed to the stages like query parameters.
    pub(super) fields: Vec<(String, String)>,
}

/// True if the media type is that of a form.
pub(super) fn is_form(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// Reads a form that must contain exactly one file.
///
/// # Errors
/// If the form is malformed, or does not contain exactly one file.
pub(super) async fn read(content_type: &str, body: Bytes) -> Result<Form, ServeError> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| {
        let detail = format!("the boundary in its `Content-Type` cannot be read: {error}");
        ServeError::invalid(format!("the body is not valid multipart/form-data: {detail}"))
    })?;
    if boundary.is_empty() {
        return Err(ServeError::invalid(
            "the body is not valid multipart/form-data: the boundary in `Content-Type` is empty",
        ));
    }
    let has_bare_line_ends = has_bare_line_ends(&body, &boundary);
    let malformed = |error: &multer::Error| {
        if has_bare_line_ends {
            let detail = "the lines of the form end with LF, but they must end with CR LF (RFC 2046)";
            return ServeError::invalid(format!("the body is not valid multipart/form-data: {detail}"));
        }
        malformed(error)
    };
    let stream = futures_util::stream::once(std::future::ready(Ok::<_, Infallible>(body)));
    let mut parts = Multipart::with_constraints(stream, boundary, Constraints::new());
    let mut file = None;
    let mut fields = Vec::new();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(|error| malformed(&error))? {
        count += 1;
        if count > MAX_PARTS {
            return Err(wrong(format!("a form may have at most {MAX_PARTS} parts")));
        }
        let head = part.headers().get(header::CONTENT_DISPOSITION);
        if part.headers().values().any(|value| value.len() > MAX_FIELD_BYTES) {
            return Err(wrong(format!("a header of a part of a form may have at most {MAX_FIELD_BYTES} bytes")));
        }
        let disposition = head.map(|head| Disposition::parse(&String::from_utf8_lossy(head.as_bytes())));
        let Disposition { name, file_name } = disposition.unwrap_or_default();
        // RFC 7578, section 4.2: a part with a file has a file name.
        if let Some(file_name) = file_name {
            let content_type = part.content_type().map(ToString::to_string);
            let bytes = part.bytes().await.map_err(|error| malformed(&error))?;
            // Browsers send this for a file field in which no file was chosen.
            if !(file_name.is_empty() && bytes.is_empty()) {
                if file.is_some() {
                    return Err(wrong(
                        "the form has more than one file, but one request takes one image; send one request for each",
                    ));
                }
                file = Some((bytes, content_type));
            }
            continue;
        }
        let Some(name) = name else {
            return Err(wrong(
                "a part of the form has no name; give each part `Content-Disposition: form-data; name=\"...\"`",
            ));
        };
        let value = part.bytes().await.map_err(|error| malformed(&error))?;
        if fields.len() == MAX_FIELDS || value.len() > MAX_FIELD_BYTES {
            return Err(wrong(format!(
                "a form may have at most {MAX_FIELDS} text fields of at most {MAX_FIELD_BYTES} bytes; send the image as a \
                 file, with a file name"
            )));
        }
        if name == "chip" {
            return Err(wrong("the field `chip` of a form is not used; set the query parameter `chip`"));
        }
        let Ok(value) = String::from_utf8(value.to_vec()) else {
            let name = shortened(&name);
            return Err(wrong(format!(
                "the field `{name}` of the form is not UTF-8; send an image as a file, with a file name"
            )));
        };
        fields.push((name, value));
    }
    let missing = "the form has no file; send the image as one part with a file name, or as the body itself";
    let (file, content_type) = file.ok_or_else(|| wrong(missing))?;
    Ok(Form { file, content_type, fields })
}

/// The error for a form that does not have the contents of a request.
fn wrong(detail: impl Into<String>) -> ServeError {
    ServeError::new(ErrorKind::UnsuitableForm, detail)
}

/// True if the line of the first boundary ends with LF only.
fn has_bare_line_ends(body: &[u8], boundary: &str) -> bool {
    let line = body
        .split(|byte| *byte == b'\n')
        .take(MAX_FIELDS)
        .find(|line| line.strip_prefix(b"--").is_some_and(|line| line.starts_with(boundary.as_bytes())));
    line.is_some_and(|line| line.len() < body.len() && !line.ends_with(b"\r"))
}

fn malformed(error: &multer::Error) -> ServeError {
    ServeError::invalid(format!("the body is not valid multipart/form-data: {error}"))
}
