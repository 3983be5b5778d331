//! Text that callers send instead of an image.

/// The bytes that are examined.
const FIRST: usize = 4096;

/// Returns the name of the kind of text, in the plural, or `None` if the body is not text.
pub(super) fn name(body: &[u8]) -> Option<&'static str> {
    if matches!(body, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) {
        return Some("text files");
    }
    if !is_text(body) {
        return None;
    }
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = text[..text.len().min(FIRST)].trim_ascii().to_ascii_lowercase();
    let contains = |word: &[u8]| text.windows(word.len()).any(|bytes| bytes == word);
    Some(match text.as_slice() {
        [b'<', ..] if contains(b"<svg") => "SVG images",
        [b'<', ..] if contains(b"<html") || contains(b"<!doctype html") || contains(b"<body") => "HTML documents",
        [b'<', ..] => "XML documents",
        [b'{' | b'[', ..] => "JSON documents",
        [b'd', b'a', b't', b'a', b':', ..] => "data URLs",
        [b'-', b'-', ..] if contains(b"content-disposition:") => "multipart forms",
        // The first bytes of a JPEG, a PNG, a GIF and a WebP.
        _ if [&b"/9j/"[..], b"ivborw0kggo", b"r0lgod", b"uklgr"].iter().any(|start| text.starts_with(start)) => {
            "images as Base64 text"
        }
        _ => "text files",
    })
}

/// True if the first bytes are printable text.
pub(super) fn is_text(body: &[u8]) -> bool {
    let first = &body[..body.len().min(FIRST)];
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | 0x0C | b'\r' | b' '..=b'~' | 0x80..);
    let utf8 = match std::str::from_utf8(first) {
        Ok(_) => true,
        // A character may be cut off.
        Err(error) => error.error_len().is_none() && first.len() == FIRST,
    };
    first.len() >= 2 && utf8 && first.iter().all(printable)
}
