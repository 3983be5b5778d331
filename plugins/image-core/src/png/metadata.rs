//! The chunks of a PNG that this crate reads itself: the orientation, whose chunks may come after the image, where the crate
//! `png` does not read them, and the length of the palette.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use flate2::Crc;
use flate2::read::ZlibDecoder;
use image::metadata::Orientation;

use crate::exif::orientation;
use crate::limits::Rejected;

/// The metadata that can contain an orientation. If there are several of a kind, the last one is used, as in Pillow.
#[derive(Default)]
struct Metadata<'a> {
    /// A chunk `eXIf`, or a text with the keyword `exif`.
    exif: Option<&'a [u8]>,
    /// EXIF as text, as ImageMagick writes it. It is used if there is no other EXIF.
    profile: Option<Cow<'a, [u8]>>,
    /// XMP as text.
    xmp: Option<Cow<'a, [u8]>>,
    /// XMP as international text. It is used if there is no other XMP.
    international_xmp: Option<Cow<'a, [u8]>>,
}

/// The keywords of the texts.
const EXIF: &[u8] = b"exif";
const PROFILE: &[u8] = b"Raw profile type exif";
const XMP: &[u8] = b"XML:com.adobe.xmp";
/// The maximum bytes of a compressed text after decompression, as in Pillow.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Reads the orientation.
///
/// # Errors
/// If a chunk is damaged that could contain it.
pub(super) fn read_orientation(body: &[u8]) -> Result<Orientation, Rejected> {
    let mut metadata = Metadata::default();
    // The signature has eight bytes.
    let mut rest = body.get(8..).unwrap_or_default();
    while let Some((chunk, after)) = next_chunk(rest) {
        match chunk.name {
            b"IEND" => break,
            // Pixels, which the crate checks.
            b"IDAT" | b"fdAT" => {}
            // Any other chunk could be one with an orientation whose name or keyword is damaged.
            name => {
                chunk.check()?;
                if matches!(name, b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt") {
                    metadata.read(&chunk);
                }
            }
        }
        rest = after;
    }
    // A truncated file may have lost its orientation, although all pixels are there.
    if let None | Some(b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt") = rest.get(4..8) {
        return Err(Rejected::broken("PNG", "its end is missing"));
    }
    let profile = metadata.profile.as_deref().and_then(profile_block);
    let xmp = metadata.xmp.filter(|xmp| !xmp.is_empty()).or(metadata.international_xmp);
    Ok(orientation(metadata.exif.or(profile.as_deref()), xmp.as_deref()))
}

/// Refuses a palette that is not a list of colours; the crate `png` panics for it.
///
/// # Errors
/// If the length of a palette is not a multiple of three.
pub(super) fn check_palette(body: &[u8]) -> Result<(), Rejected> {
    let mut rest = body.get(8..).unwrap_or_default();
    while let Some((chunk, after)) = next_chunk(rest) {
        match chunk.name {
            b"PLTE" if chunk.data.len() % 3 != 0 => {
                let length = chunk.data.len();
                let text = format!("its palette has {length} bytes, which is not a multiple of three");
                return Err(Rejected::broken("PNG", text));
            }
            b"IDAT" => break,
            _ => rest = after,
        }
    }
    Ok(())
}

/// A chunk: its name, its data and their checksum.
struct Chunk<'a> {
    name: &'a [u8; 4],
    data: &'a [u8],
    checksum: u32,
}

/// Returns the next chunk and the bytes after it. `None` if the chunk is incomplete.
fn next_chunk(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    let (checksum, rest) = rest.split_first_chunk()?;
    Some((Chunk { name, data, checksum: u32::from_be_bytes(*checksum) }, rest))
}

impl Chunk<'_> {
    /// Compares the checksum.
    fn check(&self) -> Result<(), Rejected> {
        let mut checksum = Crc::new();
        checksum.update(self.name);
        checksum.update(self.data);
        if checksum.sum() == self.checksum {
            return Ok(());
        }
        Err(Rejected::broken("PNG", format!("its {} chunk is damaged", self.name.escape_ascii())))
    }
}

impl<'a> Metadata<'a> {
    /// Reads a chunk of metadata.
    fn read(&mut self, chunk: &Chunk<'a>) {
        let (keyword, text) = match chunk.data.iter().position(|byte| *byte == 0) {
            Some(end) => (&chunk.data[..end], &chunk.data[end + 1..]),
            None => (chunk.data, &[][..]),
        };
        if chunk.name != b"eXIf" && ![EXIF, PROFILE, XMP].contains(&keyword) {
            return;
        }
        match chunk.name {
            b"eXIf" => self.exif = Some(chunk.data),
            b"tEXt" if keyword == EXIF => self.exif = Some(text),
            b"tEXt" => self.set(keyword, Some(Cow::Borrowed(text))),
            b"zTXt" => self.set(keyword, compressed_text(text)),
            _ => {
                let Some((text, is_utf8)) = international_text(text) else { return };
                if keyword == XMP {
                    self.international_xmp = Some(text.clone());
                }
                // The language, the translated keyword and the text must be UTF-8.
                if is_utf8 && std::str::from_utf8(&text).is_ok() {
                    self.set(keyword, Some(text));
                }
            }
        }
    }

    fn set(&mut self, keyword: &[u8], text: Option<Cow<'a, [u8]>>) {
        match keyword {
            PROFILE => self.profile = text.or(self.profile.take()),
            XMP => self.xmp = text.or(self.xmp.take()),
            _ => {}
        }
    }
}

/// The text of a chunk `zTXt`; empty if its data are damaged. `None` if the method of compression is unknown or the text
/// is too long.
fn compressed_text(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    match text {
        [] => Some(Cow::Borrowed(&[])),
        [0, compressed @ ..] => match decompress(compressed) {
            Ok(text) => text.map(Cow::Owned),
            Err(_) => Some(Cow::Borrowed(&[])),
        },
        _ => None,
    }
}

/// The text of a chunk `iTXt`, and true if its language and its translated keyword are UTF-8. `None` if there is none.
fn international_text(text: &[u8]) -> Option<(Cow<'_, [u8]>, bool)> {
    let [flag, method, rest @ ..] = text else { return None };
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let [language, keyword, text] = [parts.next()?, parts.next()?, parts.next()?];
    let is_utf8 = [language, keyword].iter().all(|part| std::str::from_utf8(part).is_ok());
    match (flag, method) {
        (0, _) => Some((Cow::Borrowed(text), is_utf8)),
        (_, 0) => Some((Cow::Owned(decompress(text).ok()??), is_utf8)),
        _ => None,
    }
}

/// Decompresses a text. If its end is missing, the rest is the text. `None` if it is too long.
fn decompress(compressed: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    match ZlibDecoder::new(compressed).take(MAX_TEXT_BYTES + 1).read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(Some(text).filter(|text| text.len() as u64 <= MAX_TEXT_BYTES)),
    }
}

/// The EXIF block in a profile of ImageMagick: an empty line, two lines with its name and length, and then its bytes in
/// hexadecimal digits.
fn profile_block(profile: &[u8]) -> Option<Vec<u8>> {
    let lines = profile.split(|byte| *byte == b'\n').skip(3);
    let text: Vec<u8> = lines.flatten().copied().collect();
    let mut digits = text.as_slice();
    let mut block = Vec::with_capacity(digits.len() / 2);
    loop {
        // White space is allowed between bytes, not between the digits of a byte.
        digits = digits.trim_ascii_start();
        let (byte, rest) = match digits {
            [] => return Some(block),
            [high, low, rest @ ..] => ([*high, *low], rest),
            [_] => return None,
        };
        let [high, low] = byte.map(|digit| char::from(digit).to_digit(16));
        block.push((high? << 4 | low?) as u8);
        digits = rest;
    }
}
