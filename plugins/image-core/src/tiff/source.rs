//! The decompressed bytes of a strip or tile, in order.

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind, Read};

use flate2::bufread::ZlibDecoder;
use hayro_ccitt::{DecodeSettings, DecoderContext, EncodingMode};
use weezl::{BitOrder, LzwStatus};

use super::broken;
use super::layout::Layout;
use super::tags::Compression;
use crate::limits::Rejected;

/// Bytes that an LZW or Deflate decoder holds: its tables and its window.
pub(super) const DECODER_BYTES: u64 = 128 << 10;

/// Decompresses a strip or tile.
pub(super) enum Source<'a> {
    /// Bytes as they are, and the position in them.
    Bytes(Cow<'a, [u8]>, usize),
    Deflate(Box<ZlibDecoder<Cursor<Cow<'a, [u8]>>>>),
    Lzw(Lzw<'a>),
    PackBits(PackBits<'a>),
}

pub(super) struct Lzw<'a> {
    decoder: weezl::decode::Decoder,
    bytes: Cow<'a, [u8]>,
    at: usize,
}

pub(super) struct PackBits<'a> {
    bytes: Cow<'a, [u8]>,
    at: usize,
    /// The bytes of the current run that are still to be returned.
    left: usize,
    /// True if the run repeats the byte at `at`.
    repeats: bool,
}

impl<'a> Source<'a> {
    /// `lines` is the number of rows that will be read.
    pub(super) fn new(layout: &Layout<'_>, bytes: &'a [u8], lines: u32) -> Result<Self, Rejected> {
        let bytes = if layout.reversed {
            Cow::Owned(bytes.iter().map(|byte| byte.reverse_bits()).collect())
        } else {
            Cow::Borrowed(bytes)
        };
        let fax = |mode| Ok(Source::Bytes(Cow::Owned(fax(layout, &bytes, lines, mode)?), 0));
        match layout.compression {
            Compression::Stored | Compression::Jpeg => Ok(Source::Bytes(bytes, 0)),
            Compression::FaxRows | Compression::FaxGroup3(false) => fax(EncodingMode::Group3_1D),
            Compression::FaxGroup3(true) => fax(EncodingMode::Group3_2D),
            Compression::FaxGroup4 => fax(EncodingMode::Group4),
            Compression::Deflate => Ok(Source::Deflate(Box::new(ZlibDecoder::new(Cursor::new(bytes))))),
            Compression::PackBits => Ok(Source::PackBits(PackBits { bytes, at: 0, left: 0, repeats: false })),
            // Before TIFF 6.0, codes began in the lowest bit; libtiff recognises such data by its first code.
            Compression::Lzw if matches!(*bytes, [0, second, ..] if second & 1 == 1) => {
                Err(super::unsupported("LZW compression of the time before TIFF 6.0", "LZW as defined by TIFF 6.0"))
            }
            Compression::Lzw => {
                let decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
                Ok(Source::Lzw(Lzw { decoder, bytes, at: 0 }))
            }
        }
    }

    /// Reads the next bytes; it is an error if there are not enough of them.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<(), Rejected> {
        match self {
            Source::Bytes(bytes, at) => {
                let from = bytes.get(*at..).and_then(|rest| rest.get(..out.len())).ok_or_else(too_short)?;
                out.copy_from_slice(from);
                *at += out.len();
                Ok(())
            }
            Source::Deflate(decoder) => decoder.read_exact(out).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => too_short(),
                _ => broken(error),
            }),
            Source::Lzw(lzw) => lzw.fill(out),
            Source::PackBits(runs) => runs.fill(out),
        }
    }

    /// Checks the checksum, if there is one. Data after the last row is ignored.
    pub(super) fn finish(self) -> Result<(), Rejected> {
        let Source::Deflate(mut decoder) = self else { return Ok(()) };
        let mut ignored = [0; 4096];
        for _ in 0..16 {
            match decoder.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                // The pixels are complete, so only a wrong checksum matters.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }
}

impl Lzw<'_> {
    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), Rejected> {
        while !out.is_empty() {
            let result = self.decoder.decode_bytes(&self.bytes[self.at..], out);
            self.at += result.consumed_in;
            out = &mut out[result.consumed_out..];
            match result.status {
                Err(error) => return Err(broken(error)),
                _ if out.is_empty() => {}
                // `NoProgress` is also returned together with progress.
                Ok(LzwStatus::Ok | LzwStatus::NoProgress) if result.consumed_in + result.consumed_out > 0 => {}
                Ok(_) => return Err(too_short()),
            }
        }
        Ok(())
    }
}

impl PackBits<'_> {
    /// TIFF 6.0, section 9.
    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), Rejected> {
        while !out.is_empty() {
            if self.left == 0 {
                let header = *self.bytes.get(self.at).ok_or_else(too_short)?;
                self.at += 1;
                (self.left, self.repeats) = match header {
                    0..=127 => (usize::from(header) + 1, false),
                    128 => continue,
                    129.. => (257 - usize::from(header), true),
                };
            }
            let count = self.left.min(out.len());
            let (now, later) = out.split_at_mut(count);
            if self.repeats {
                now.fill(*self.bytes.get(self.at).ok_or_else(too_short)?);
            } else {
                now.copy_from_slice(self.bytes.get(self.at..self.at + count).ok_or_else(too_short)?);
                self.at += count;
            }
            self.left -= count;
            if self.repeats && self.left == 0 {
                self.at += 1;
            }
            out = later;
        }
        Ok(())
    }
}

/// Rows of one bit per pixel; 1 is black.
struct Bits {
    bytes: Vec<u8>,
    row_bytes: usize,
    width: usize,
}

impl hayro_ccitt::Decoder for Bits {
    fn push_row(&mut self, changes: &[u32]) {
        let start = self.bytes.len();
        self.bytes.resize(start + self.row_bytes, 0);
        let row = &mut self.bytes[start..];
        for run in changes.chunks(2) {
            let (first, end) = (run[0] as usize, run.get(1).map_or(self.width, |&end| end as usize));
            for at in first..end.min(self.width) {
                row[at / 8] |= 128 >> (at % 8);
            }
        }
    }
}

/// Decodes CCITT codes (ITU-T T.4 and T.6). Damaged data is refused, because the rows after it would be guesses.
fn fax(layout: &Layout<'_>, bytes: &[u8], lines: u32, encoding: EncodingMode) -> Result<Vec<u8>, Rejected> {
    let row_bytes = layout.row_bytes() as usize;
    let mut bits =
        Bits { bytes: Vec::with_capacity(row_bytes * lines as usize), row_bytes, width: layout.chunk_width as usize };
    let rows = layout.compression == Compression::FaxRows;
    let mut context = DecoderContext::new(DecodeSettings {
        columns: layout.chunk_width,
        rows: lines,
        end_of_block: !rows,
        end_of_line: false,
        rows_are_byte_aligned: rows,
        encoding,
        strict: true,
    });
    hayro_ccitt::decode(bytes, &mut bits, &mut context).map_err(broken)?;
    if bits.bytes.len() < row_bytes * lines as usize {
        return Err(too_short());
    }
    Ok(bits.bytes)
}

fn too_short() -> Rejected {
    broken("a strip or tile has too little data")
}
