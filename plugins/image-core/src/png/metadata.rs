//! EXIF and XMP of a PNG. They may stand after the image, and the crate `png` reads only what stands before it.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;

/// The metadata that can contain an orientation. If there are several of a kind, the last one is used, as in Pillow.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    pub(super) exif: Option<&'a [u8]>,
    pub(super) xmp: Option<Cow<'a, [u8]>>,
}

/// The keyword of a text chunk with XMP.
const XMP: &[u8] = b"XML:com.adobe.xmp";
/// The maximum bytes of compressed XMP after decompression, as in Pillow.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Reads the metadata. Ends at an incomplete chunk.
pub(super) fn read(body: &[u8]) -> Metadata<'_> {
    let mut metadata = Metadata::default();
    // The signature has eight bytes.
    let mut rest = body.get(8..).unwrap_or_default();
    while let Some((name, data, after)) = next_chunk(rest) {
        match name {
            b"eXIf" => metadata.exif = Some(data),
            b"tEXt" | b"zTXt" | b"iTXt" => metadata.xmp = xmp(name, data).or(metadata.xmp),
            _ => {}
        }
        rest = after;
    }
    metadata
}

/// A chunk: its length, its name, its data and a checksum.
fn next_chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    Some((name, data, rest.get(4..)?))
}

/// The text of a text chunk, if its keyword is that of XMP.
fn xmp<'a>(name: &[u8; 4], data: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let text = data.strip_prefix(XMP)?.strip_prefix(b"\0")?;
    let (compressed, text) = match name {
        b"tEXt" => (false, text),
        // The method of compression; there is only one.
        b"zTXt" => (true, text.strip_prefix(b"\0")?),
        _ => {
            let [compressed, _, rest @ ..] = text else { return None };
            // The language and the translated keyword.
            let mut parts = rest.splitn(3, |byte| *byte == 0);
            (*compressed != 0, parts.nth(2)?)
        }
    };
    if !compressed {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::new();
    ZlibDecoder::new(text).take(MAX_TEXT_BYTES).read_to_end(&mut plain).ok()?;
    Some(Cow::Owned(plain))
}
