//! Rows of a strip or tile as samples of 8 bits.

use super::broken;
use super::colour::Colours;
use super::directory::Directory;
use super::jpeg;
use super::layout::{Layout, Place, assumed};
use super::source::Source;
use super::tags::{Compression, Predictor};
use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::rows::Sample;

/// A strip or tile that is being read.
pub(super) struct Chunk<'a, 'l> {
    layout: &'l Layout<'a>,
    source: Source<'a>,
    /// A row as stored in the file.
    raw: Vec<u8>,
    /// The row of the next pixels among those that share chroma samples.
    line: u32,
    /// The bytes that the strip or tile may have after the last row that is read.
    padding: u64,
}

impl<'a, 'l> Chunk<'a, 'l> {
    /// `lines` is the number of rows that will be read, `left` the number of bytes that may be allocated in addition to
    /// the estimate.
    pub(super) fn open<L: Lanes>(
        tags: &Directory<'a>,
        layout: &'l Layout<'a>,
        place: Place,
        lines: u32,
        left: u64,
    ) -> Result<Self, Rejected> {
        let row_bytes = layout.row_bytes();
        let needed = row_bytes.saturating_mul(u64::from(lines.div_ceil(layout.shared.1)));
        let bytes = layout.chunk(tags, place, needed)?;
        let source = if layout.compression == Compression::Jpeg {
            Source::Bytes(jpeg::decode::<L>(layout, bytes, lines, left)?.into(), 0)
        } else {
            Source::new(layout, bytes, lines)?
        };
        let padding = layout.chunk_bytes().saturating_sub(needed);
        Ok(Chunk { layout, source, raw: vec![0; row_bytes as usize], line: 0, padding })
    }

    /// Writes the next row, the samples of each pixel next to each other. If the samples are stored in separate planes,
    /// only those of this plane are written.
    pub(super) fn next(&mut self, out: &mut [u8], plane: usize) -> Result<(), Rejected> {
        let layout = self.layout;
        if layout.shared != (1, 1) {
            return self.next_subsampled(out);
        }
        self.source.fill(&mut self.raw)?;
        self.undo_prediction();
        if layout.premultiplied && layout.bits > 8 {
            return self.next_divided(out);
        }
        let samples = if layout.planar { 1 } else { layout.samples };
        let stored = &self.raw[..];
        // The float predictor stores the bytes of a sample in big-endian order.
        let big_endian = layout.big_endian || layout.predictor == Predictor::Float;
        let mut spread = |byte: &dyn Fn(usize) -> Result<u8, Rejected>| {
            let kept = layout.kept;
            for (pixel, out) in out.chunks_exact_mut(kept).enumerate() {
                if layout.planar {
                    out[plane] = byte(pixel)?;
                } else {
                    for (sample, out) in out.iter_mut().enumerate() {
                        *out = byte(pixel * samples + sample)?;
                    }
                }
            }
            Ok(())
        };
        match (layout.bits, layout.float) {
            (8, _) => spread(&|at| Ok(stored[at])),
            (16, _) => {
                let stored = stored.as_chunks::<2>().0;
                let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                spread(&|at| Ok(read(stored[at]).byte()))
            }
            (12, _) => spread(&|at| Ok(((u32::from(twelve_bits(stored, at)) * 255 + 2047) / 4095) as u8)),
            (32, _) => {
                let stored = stored.as_chunks::<4>().0;
                let read = if big_endian { f32::from_be_bytes } else { f32::from_le_bytes };
                spread(&|at| unit(f64::from(read(stored[at]))))
            }
            (64, _) => {
                let stored = stored.as_chunks::<8>().0;
                let read = if big_endian { f64::from_be_bytes } else { f64::from_le_bytes };
                spread(&|at| unit(read(stored[at])))
            }
            (bits, _) => {
                let (bits, per_byte) = (bits as usize, 8 / bits as usize);
                let most = (1_u16 << bits) - 1;
                let scale = if matches!(layout.colours, Colours::Palette(_)) { 1 } else { 255 / most };
                spread(&|at| {
                    let shift = 8 - bits * (at % per_byte + 1);
                    Ok(((u16::from(stored[at / per_byte] >> shift) & most) * scale) as u8)
                })
            }
        }
    }

    /// Writes colours that were multiplied by alpha, and 255 instead of alpha. Samples of more than 8 bits are divided
    /// before they are rounded; afterwards, the colours of nearly transparent pixels would be far from right.
    fn next_divided(&self, out: &mut [u8]) -> Result<(), Rejected> {
        let (samples, colours) = (self.layout.samples, self.layout.kept - 1);
        for (pixel, out) in out.chunks_exact_mut(colours + 1).enumerate() {
            let alpha = self.sample(pixel * samples + colours)?;
            for (sample, out) in out[..colours].iter_mut().enumerate() {
                let value = self.sample(pixel * samples + sample)?;
                // The cast saturates. Transparent pixels are black, as in 8 bits.
                *out = if alpha > 0.0 { (value / alpha * 255.0 + 0.5) as u8 } else { 0 };
            }
            out[colours] = 255;
        }
        Ok(())
    }

    /// A sample of more than 8 bits, from 0 to 1.
    fn sample(&self, at: usize) -> Result<f64, Rejected> {
        let (stored, layout) = (&self.raw[..], self.layout);
        let big_endian = layout.big_endian || layout.predictor == Predictor::Float;
        match layout.bits {
            12 => Ok(f64::from(twelve_bits(stored, at)) / 4095.0),
            16 => {
                let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                Ok(f64::from(read(stored.as_chunks().0[at])) / 65535.0)
            }
            32 => {
                let read = if big_endian { f32::from_be_bytes } else { f32::from_le_bytes };
                in_range(f64::from(read(stored.as_chunks().0[at])))
            }
            _ => {
                let read = if big_endian { f64::from_be_bytes } else { f64::from_le_bytes };
                in_range(read(stored.as_chunks().0[at]))
            }
        }
    }

    /// Luma samples of a rectangle of pixels, followed by the two chroma samples that they share (TIFF 6.0, section
    /// 21).
    fn next_subsampled(&mut self, out: &mut [u8]) -> Result<(), Rejected> {
        let (across, down) = (self.layout.shared.0 as usize, self.layout.shared.1);
        if self.line == 0 {
            self.source.fill(&mut self.raw)?;
        }
        let first = self.line as usize * across;
        let unit = across * down as usize + 2;
        for (stored, out) in self.raw.chunks_exact(unit).zip(out.chunks_mut(3 * across)) {
            for (luma, out) in stored[first..].iter().zip(out.as_chunks_mut::<3>().0) {
                *out = [*luma, stored[unit - 2], stored[unit - 1]];
            }
        }
        self.line = (self.line + 1) % down;
        Ok(())
    }

    /// Replaces the differences in the row by samples.
    fn undo_prediction(&mut self) {
        let samples = self.layout.chunk_samples();
        let width = self.layout.bits as usize / 8;
        match self.layout.predictor {
            Predictor::None => {}
            Predictor::Horizontal => {
                let big_endian = self.layout.big_endian;
                match width {
                    1 => add_left(&mut self.raw, samples, |byte: [u8; 1]| byte[0], |sample| [sample], u8::wrapping_add),
                    2 if big_endian => {
                        add_left(&mut self.raw, samples, u16::from_be_bytes, u16::to_be_bytes, u16::wrapping_add);
                    }
                    2 => add_left(&mut self.raw, samples, u16::from_le_bytes, u16::to_le_bytes, u16::wrapping_add),
                    4 if big_endian => {
                        add_left(&mut self.raw, samples, u32::from_be_bytes, u32::to_be_bytes, u32::wrapping_add);
                    }
                    4 => add_left(&mut self.raw, samples, u32::from_le_bytes, u32::to_le_bytes, u32::wrapping_add),
                    _ if big_endian => {
                        add_left(&mut self.raw, samples, u64::from_be_bytes, u64::to_be_bytes, u64::wrapping_add);
                    }
                    _ => add_left(&mut self.raw, samples, u64::from_le_bytes, u64::to_le_bytes, u64::wrapping_add),
                }
            }
            // Adobe, "TIFF Technical Note 3": first all highest bytes of the row, then all second highest bytes and so
            // on, as differences of bytes.
            Predictor::Float => {
                add_left(&mut self.raw, samples, |byte: [u8; 1]| byte[0], |sample| [sample], u8::wrapping_add);
                let count = self.raw.len() / width;
                let planes = self.raw.clone();
                for (sample, bytes) in self.raw.chunks_exact_mut(width).enumerate() {
                    for (plane, byte) in bytes.iter_mut().enumerate() {
                        *byte = planes[plane * count + sample];
                    }
                }
            }
        }
    }

    /// Checks what can be checked only after the last row.
    pub(super) fn finish(mut self) -> Result<(), Rejected> {
        if self.layout.assumed {
            let mut more = 0;
            while self.source.fill(&mut [0]).is_ok() {
                more += 1;
                if more > self.padding {
                    return Err(assumed());
                }
            }
        }
        self.source.finish()
    }
}

/// Adds to each sample the sample of the same kind in the pixel to its left.
fn add_left<T: Copy, const N: usize>(
    row: &mut [u8],
    samples: usize,
    read: impl Fn([u8; N]) -> T,
    write: impl Fn(T) -> [u8; N],
    add: impl Fn(T, T) -> T,
) {
    let row = row.as_chunks_mut::<N>().0;
    for at in samples..row.len() {
        row[at] = write(add(read(row[at]), read(row[at - samples])));
    }
}

/// A sample of 12 bits. Two are stored in three bytes, the highest bits first in both byte orders.
fn twelve_bits(stored: &[u8], at: usize) -> u16 {
    let first = at * 3 / 2;
    let pair = u16::from_be_bytes([stored[first], stored[first + 1]]);
    if at.is_multiple_of(2) { pair >> 4 } else { pair & 0xFFF }
}

/// Half a level of 8 bits: samples outside of 0 to 1 by no more than this are rounding errors of the writer.
const TOLERANCE: f64 = 0.5 / 255.0;

/// Converts a floating-point sample.
fn unit(value: f64) -> Result<u8, Rejected> {
    // The cast saturates.
    in_range(value).map(|value| (value * 255.0 + 0.5) as u8)
}

/// Refuses a floating-point sample outside of the usual range, 0 to 1; a guess at any other range could be wrong.
fn in_range(value: f64) -> Result<f64, Rejected> {
    if (-TOLERANCE..=1.0 + TOLERANCE).contains(&value) {
        Ok(value)
    } else if value.is_nan() {
        Err(broken("a sample is not a number"))
    } else {
        Err(super::unsupported(
            &format!("floating-point samples outside of 0 to 1 (here {value})"),
            "floating-point samples from 0 to 1",
        ))
    }
}
