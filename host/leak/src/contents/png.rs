//! The chunk of a PNG whose contents change: the last rows of pixels, or the palette.

use std::io::{Read as _, Write as _};

use super::pattern::xor;

/// Bytes of the signature, and of the chunk `IHDR`.
const SIGNATURE: usize = 8;
const HEADER: usize = 13;
/// Bytes of a chunk beside its data: its length, its name, its checksum.
const AROUND: usize = 12;
/// The share of the rows that change, and the maximum of their bytes. Many rows change, because a plugin that makes an image
/// smaller may read one row of ten.
const SHARE: usize = 8;
const LARGEST_BAND: usize = 1 << 20;
/// Maximum bytes of pixels of an image that is changed.
const LARGEST_IMAGE: usize = 64 << 20;
/// The colour type of an image with a palette.
const PALETTE: u8 = 3;
/// Bytes of a block of deflate that is stored as it is.
const STORED: usize = 65_535;
/// What a stream of zlib begins with.
const ZLIB: [u8; 2] = [0x78, 0x01];
/// The modulus of Adler-32.
const ADLER: u32 = 65_521;

/// A chunk that changes, between what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    before: Vec<u8>,
    kind: Kind,
    after: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The colours.
    Palette(Vec<u8>),
    /// Rows with their number of bytes each, of which the first is the filter; and the checksum of the rows before.
    Rows(Vec<u8>, usize, [u32; 2]),
}

/// Where the chunk is, and what it has. `None` if the image cannot be read.
pub(super) fn chunk(body: &[u8]) -> Option<Chunk> {
    let (mut chunks, mut at) = (Vec::new(), SIGNATURE);
    while at < body.len() {
        let length = u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?) as usize;
        let data = body.get(at + 8..at.checked_add(8)?.checked_add(length)?)?;
        chunks.push((at, &body[at + 4..at + 8], data));
        at = at.checked_add(AROUND)?.checked_add(length)?;
    }
    let (_, b"IHDR", header) = *chunks.first()? else { return None };
    let header: [u8; HEADER] = header.try_into().ok()?;
    let size = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (width, height, depth, colours) = (size(0), size(4), usize::from(header[8]), header[9]);
    if colours == PALETTE {
        let &(at, _, palette) = chunks.iter().find(|(_, name, _)| name == b"PLTE")?;
        let after = body.get(at + AROUND + palette.len()..)?.to_vec();
        return Some(Chunk { before: body[..at].to_vec(), kind: Kind::Palette(palette.to_vec()), after });
    }
    let channels = [1, 0, 3, 0, 2, 0, 4].get(usize::from(colours)).copied().filter(|&channels| channels > 0)?;
    let row = width.checked_mul(channels * depth)?.div_ceil(8).checked_add(1)?;
    let all = row.checked_mul(height).filter(|&all| all <= LARGEST_IMAGE && header[12] == 0)?;
    let data: Vec<u8> =
        chunks.iter().filter(|(_, name, _)| name == b"IDAT").flat_map(|(_, _, data)| *data).copied().collect();
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(&data[..]).take(all as u64 + 1).read_to_end(&mut pixels).ok()?;
    let rows = (height / SHARE).clamp(1, (LARGEST_BAND / row).max(1));
    let kept = pixels.len().checked_sub(rows * row).filter(|_| pixels.len() == all && height > 0)?;
    let (first, _, _) = *chunks.iter().find(|(_, name, _)| name == b"IDAT")?;
    let (last, _, end) = *chunks.iter().rfind(|(_, name, _)| name == b"IDAT")?;
    let mut before = body[..first].to_vec();
    add(&mut before, b"IDAT", &[&ZLIB[..], &deflated(&pixels[..kept])?].concat());
    let kind = Kind::Rows(pixels[kept..].to_vec(), row, adler([1, 0], &pixels[..kept]));
    Some(Chunk { before, kind, after: body.get(last + AROUND + end.len()..)?.to_vec() })
}

/// The beginning of a stream of deflate, up to a whole byte.
fn deflated(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.flush().ok()?;
    Some(encoder.get_ref().clone())
}

/// The checksum of zlib after more bytes.
fn adler([mut a, mut b]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    // As many additions as fit before the remainder is needed.
    for part in bytes.chunks(5_552) {
        for byte in part {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % ADLER, b % ADLER);
    }
    [a, b]
}

/// Adds a chunk.
fn add(image: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    image.extend((data.len() as u32).to_be_bytes());
    let mut crc = flate2::Crc::new();
    for part in [name, data] {
        crc.update(part);
        image.extend(part);
    }
    image.extend(crc.sum().to_be_bytes());
}

impl Chunk {
    /// The number of different contents.
    pub(super) fn count(&self) -> u64 {
        let bytes = match &self.kind {
            Kind::Palette(colours) => colours.len(),
            Kind::Rows(_, row, _) => row - 1,
        };
        1 << (8 * bytes.min(4))
    }

    /// The image whose chunk is changed by a pattern.
    pub(super) fn with(&self, pattern: [u8; 4]) -> Vec<u8> {
        let mut image = self.before.clone();
        match &self.kind {
            Kind::Palette(colours) => {
                let mut colours = colours.clone();
                xor(&mut colours, pattern);
                add(&mut image, b"PLTE", &colours);
            }
            Kind::Rows(rows, row, before) => {
                let mut rows = rows.clone();
                rows.chunks_mut(*row).for_each(|row| xor(&mut row[1..], pattern));
                let [a, b] = adler(*before, &rows);
                let mut data = Vec::with_capacity(rows.len() + 64);
                let mut blocks = rows.chunks(STORED).peekable();
                while let Some(block) = blocks.next() {
                    let length = block.len() as u16;
                    data.push(u8::from(blocks.peek().is_none()));
                    data.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
                    data.extend(block);
                }
                data.extend((b << 16 | a).to_be_bytes());
                add(&mut image, b"IDAT", &data);
            }
        }
        image.extend(&self.after);
        image
    }
}
