//! The chunks of a WebP file (WebP Container Specification, "RIFF File Format"). They are read in place, so a broken
//! length allocates nothing.

use image::metadata::Orientation;

use crate::exif::{orientation, without_prefix};
use crate::limits::Rejected;

/// Offset of the feature flags in a file: after "RIFF", its length, "WEBP", "VP8X" and the length of that chunk.
const FEATURES: usize = 20;
/// The features that declare metadata.
const HAS_EXIF: u8 = 8;
const HAS_XMP: u8 = 4;
const ANIMATED: u8 = 2;
/// All features: these, alpha and a colour profile.
const ALL_FEATURES: u8 = 0x3E;

/// The part of the body that belongs to the file.
///
/// # Errors
/// If the file is longer than the body, or one of its chunks is longer than the file. The image may still be complete,
/// but a decoder does not always notice if it is not.
pub(super) fn whole(body: &[u8]) -> Result<&[u8], Rejected> {
    // "RIFF", the length of what follows.
    let length = body.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let end = length.and_then(|length| usize::try_from(length).ok()?.checked_add(8));
    let file = end.and_then(|end| body.get(..end)).ok_or_else(truncated)?;
    check_chunks(file.get(12..).ok_or_else(truncated)?)?;
    Ok(file)
}

/// Checks that all chunks are complete, and where they may be. The rules are those of libwebp.
fn check_chunks(bytes: &[u8]) -> Result<(), Rejected> {
    let mut chunks = Chunks(bytes);
    let (first, head) = chunks.next().ok_or_else(truncated)?;
    let extended = first == b"VP8X";
    if extended && (head.len() != 10 || head[0] & !ALL_FEATURES != 0) {
        return Err(Rejected::broken("WebP", "its features are not those of a WebP image"));
    }
    let animated = extended && head[0] & ANIMATED != 0;
    let mut begun = false;
    for (name, data) in chunks.by_ref() {
        let fits = match name {
            b"VP8X" => false,
            // A background colour and the number of repetitions.
            b"ANIM" => data.len() >= 6,
            b"ANMF" => begun,
            name if is_part(name) => !animated && !begun,
            _ => true,
        };
        begun |= name == b"ANIM";
        if extended && !fits {
            return Err(Rejected::broken("WebP", format!("it has {} where none may be", text(name))));
        }
    }
    if chunks.0.is_empty() { Ok(()) } else { Err(truncated()) }
}

/// The size of a file, and whether it is an animation.
///
/// # Errors
/// If it does not begin with an image or with the features of one.
pub(super) fn canvas(file: &[u8]) -> Result<((u32, u32), bool), Rejected> {
    let (name, head) = Chunks(file.get(12..).ok_or_else(truncated)?).next().ok_or_else(truncated)?;
    match (name, head) {
        // The features, three reserved bytes, and the two sides minus 1.
        (b"VP8X", [features, _, _, _, size @ ..]) if size.len() == 6 => {
            let side = |at: usize| u32::from_le_bytes([size[at], size[at + 1], size[at + 2], 0]) + 1;
            Ok(((side(0), side(3)), features & ANIMATED != 0))
        }
        (b"VP8 " | b"VP8L", _) => Ok((stored(file)?.size()?, false)),
        _ => Err(Rejected::broken("WebP", format!("it begins with {}", text(name)))),
    }
}

/// The orientation in the metadata. As in libwebp, only metadata that the features declare count.
pub(super) fn read_orientation(file: &[u8]) -> Orientation {
    let is_extended = file.get(12..16) == Some(b"VP8X");
    let features = file.get(FEATURES).filter(|_| is_extended).copied().unwrap_or_default();
    let declared = |feature: u8, name: &'static [u8; 4]| chunk(file, name).filter(|_| features & feature != 0);
    orientation(declared(HAS_EXIF, b"EXIF").map(without_prefix), declared(HAS_XMP, b"XMP "))
}

/// The image in a file or in a frame of an animation.
pub(super) struct Stored<'a> {
    pub(super) alpha: Option<&'a [u8]>,
    pub(super) lossy: bool,
    /// The data of its chunk.
    pub(super) data: &'a [u8],
}

impl Stored<'_> {
    /// Width and height in the head of the data. The head is checked, as libwebp does before it decodes.
    ///
    /// # Errors
    /// If the data do not begin with a picture that can be shown, or end before they should.
    pub(super) fn size(&self) -> Result<(u32, u32), Rejected> {
        let wrong = || Rejected::broken("WebP", "its data do not begin with a picture that can be shown");
        if self.lossy {
            // RFC 6386, section 9.1: a tag, a start code, then two numbers of 14 bits, each with two bits of scale. The
            // tag says: not a key frame, the version, whether it is shown, and the length of the first partition.
            let head = self.data.first_chunk::<10>().ok_or_else(truncated)?;
            let tag = u32::from_le_bytes([head[0], head[1], head[2], 0]);
            if tag & 1 != 0 || (tag >> 1) & 7 > 3 || (tag >> 4) & 1 == 0 || head[3..6] != [0x9D, 1, 0x2A] {
                return Err(wrong());
            }
            if (tag >> 5) as usize >= self.data.len() {
                return Err(truncated());
            }
            let side = |at: usize| u32::from(u16::from_le_bytes([head[at], head[at + 1]]) & 0x3FFF);
            return Ok((side(6), side(8)));
        }
        // A signature, then the two sides minus 1 in 14 bits each, a flag and the version.
        let head = self.data.first_chunk::<5>().ok_or_else(truncated)?;
        let sizes = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if head[0] != 0x2F || sizes >> 29 != 0 {
            return Err(wrong());
        }
        Ok(((sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1))
    }
}

/// The image of a file that is not animated.
///
/// # Errors
/// If there is none, or its chunks are not those of one image. Decoders take one or the other then; libwebp refuses such
/// a file.
pub(super) fn stored(file: &[u8]) -> Result<Stored<'_>, Rejected> {
    let chunks = file.get(12..).ok_or_else(truncated)?;
    match file.get(12..16) {
        // What follows is ignored.
        Some(b"VP8 " | b"VP8L") => one(Chunks(chunks).take(1)),
        _ => stored_in(chunks),
    }
}

/// The image among these chunks. Errors are those of [`stored`].
pub(super) fn stored_in(bytes: &[u8]) -> Result<Stored<'_>, Rejected> {
    let mut chunks = Chunks(bytes);
    let image = one(chunks.by_ref())?;
    if let Some((name, _)) = chunks.find(|(name, _)| is_part(name)) {
        return Err(Rejected::broken("WebP", format!("it has {} after its image", text(name))));
    }
    Ok(image)
}

/// The first image: a chunk, or a chunk of alpha and the next chunk.
fn one<'a>(mut chunks: impl Iterator<Item = (&'a [u8; 4], &'a [u8])>) -> Result<Stored<'a>, Rejected> {
    match chunks.find(|(name, _)| is_part(name)).ok_or_else(truncated)? {
        (b"ALPH", [0x40..=0xFF, ..]) => Err(Rejected::broken("WebP", "its alpha is stored in an unknown way")),
        (b"ALPH", alpha) => match chunks.next() {
            Some((b"VP8 ", data)) => Ok(Stored { alpha: Some(alpha), lossy: true, data }),
            Some((name, _)) => Err(Rejected::broken("WebP", format!("it has {} after its alpha", text(name)))),
            None => Err(truncated()),
        },
        (name, data) => Ok(Stored { alpha: None, lossy: name == b"VP8 ", data }),
    }
}

/// True for the chunks that an image consists of.
pub(super) fn is_part(name: &[u8; 4]) -> bool {
    matches!(name, b"ALPH" | b"VP8 " | b"VP8L")
}

/// A chunk's name for a message.
fn text(name: &[u8; 4]) -> String {
    format!("a chunk `{}`", name.escape_ascii())
}

pub(super) fn truncated() -> Rejected {
    Rejected::broken("WebP", "the file ends before the end of the image")
}

/// Returns the data of the first chunk of the file with this name.
fn chunk<'a>(file: &'a [u8], name: &'static [u8; 4]) -> Option<&'a [u8]> {
    all(file, name).next()
}

/// Iterates over the data of all chunks of the file with this name.
pub(super) fn all<'a>(file: &'a [u8], name: &'static [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
    // "RIFF", a length, "WEBP".
    let chunks = Chunks(file.get(12..).unwrap_or_default());
    chunks.filter(move |(other, _)| *other == name).map(|(_, data)| data)
}

/// Iterates over chunks: a name, a length and the data, padded to a multiple of two bytes. Ends at an incomplete chunk.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (data, rest) = rest.split_at_checked(length)?;
        self.0 = rest.get(length % 2..)?;
        Some((name, data))
    }
}
