//! Converts all components to the colours of pixels, and resizes these.

use super::colours::Colours;
use super::headers::Headers;
use super::plane::{Plane, strip_stride, upsampling};
use super::upsample::upsample;
use crate::lanes::Lanes;
use crate::output::{Colour, Output};
use crate::resample::{Resampler, Side, Upsampling, resampler_bytes, result_bytes};

/// The number of rows that the resampler adds up at once.
const ROWS: usize = 16;

/// Collects the rows of all components, and resizes red, green and blue.
pub(super) struct Pixels<'o, 'a, L> {
    output: &'o mut Output<'a>,
    resampler: Resampler<L>,
    histories: Vec<History>,
    colours: Colours,
    width: usize,
    height: usize,
    /// Pixel rows of a row of MCUs.
    strip: usize,
    /// The strips that were taken.
    taken: usize,
    /// The rows of pixels that were converted.
    converted: usize,
    /// A row of pixels of each component that is subsampled.
    components: [Vec<u8>; 4],
    /// Scratch space for a row of samples.
    sums: Vec<u16>,
    /// Rows that were not yet resized: each has a row of red, one of green and one of blue.
    rgb: Vec<u8>,
    /// The number of these rows, and how many are resized at once.
    rows: usize,
    rows_at_once: usize,
}

/// The last rows of samples of a component. A row of pixels may need samples of the next strip, so it is converted when
/// that strip has arrived.
struct History {
    /// The last row before the previous strip.
    last: Vec<u8>,
    previous: Vec<u8>,
    current: Vec<u8>,
    /// Samples from one row to the next, and those that are part of the image.
    stride: usize,
    width: usize,
    /// Rows of the component.
    height: usize,
    /// Rows of a strip.
    strip: usize,
    upsampling: [Upsampling; 2],
}

/// Estimates the bytes that [`Pixels::new`] allocates, and those of the strips.
pub(super) fn pixels_bytes(headers: &Headers, output: &Output) -> u64 {
    let (width, height) = (headers.width as u64, headers.height as u64);
    let strips = headers.components.iter().map(|component| {
        let across = (headers.samples(component).0 + 32) as u64;
        (3 * 8 * component.down as u64 + 1) * across
    });
    let rows = (3 * ROWS as u64 + 6) * width;
    let resized = resampler_bytes(3, width, height, output.y);
    let fed = if height < output.y.full { 1 } else { ROWS as u64 };
    strips.sum::<u64>() + rows + resized + 3 * result_bytes(fed, width, height, output.x, output.y)
}

impl<'o, 'a, L: Lanes> Pixels<'o, 'a, L> {
    pub(super) fn new(headers: &Headers, output: &'o mut Output<'a>) -> Self {
        let histories = headers.components.iter().map(|component| {
            let (width, height) = headers.samples(component);
            let strip = 8 * component.down;
            let stride = strip_stride(headers, component, 8);
            let rows = |count: usize| vec![0; count * stride];
            let upsampling = upsampling(headers, component);
            History {
                last: rows(1),
                previous: rows(strip),
                current: rows(strip),
                stride,
                width,
                height,
                strip,
                upsampling,
            }
        });
        let (width, height) = (headers.width, headers.height);
        let resampler = Resampler::planar(3, width, Side::of(width), Side::of(height), output.x, output.y);
        // If the height grows, a row gives several rows of the result, which take memory.
        let rows_at_once = if resampler.grows() { 1 } else { ROWS };
        Pixels {
            histories: histories.collect(),
            colours: headers.colours,
            width,
            height,
            strip: 8 * headers.tallest,
            taken: 0,
            converted: 0,
            components: std::array::from_fn(|_| vec![0; width]),
            sums: vec![0; width],
            rgb: vec![0; rows_at_once * 3 * width],
            rows: 0,
            rows_at_once,
            resampler,
            output,
        }
    }

    /// Takes the strips of all components, and converts the rows of the previous strips.
    pub(super) fn take_strips<'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        for (plane, history) in planes.zip(&mut self.histories) {
            history.last.copy_from_slice(&history.previous[(history.strip - 1) * history.stride..]);
            // The plane gets the oldest strip, which it overwrites.
            std::mem::swap(&mut history.previous, &mut history.current);
            std::mem::swap(&mut history.current, &mut plane.strip);
        }
        self.taken += 1;
        self.convert_rows((self.taken - 1) * self.strip);
    }

    /// Converts and resizes the remaining rows. Call after the last strip.
    pub(super) fn finish(mut self) {
        self.convert_rows(self.height);
        self.resize();
    }

    /// Converts rows of pixels up to row `end`.
    fn convert_rows(&mut self, end: usize) {
        let end = end.min(self.height);
        for y in self.converted..end {
            let strip = self.taken as isize - 2;
            for (history, pixels) in self.histories.iter().zip(&mut self.components) {
                if history.is_subsampled() {
                    let row = |row: isize| history.row(strip, row);
                    upsample(history.upsampling, y, row, &mut self.sums[..history.width], pixels);
                }
            }
            let row = |component: usize| match self.histories.get(component) {
                Some(history) if !history.is_subsampled() => history.row(strip, y as isize),
                _ => &self.components[component],
            };
            let (r, rest) = self.rgb[self.rows * 3 * self.width..][..3 * self.width].split_at_mut(self.width);
            let (g, b) = rest.split_at_mut(self.width);
            convert::<L>(self.colours, [row(0), row(1), row(2), row(3)], [r, g, b]);
            self.rows += 1;
            if self.rows == self.rows_at_once {
                self.resize();
            }
        }
        self.converted = self.converted.max(end);
    }

    /// Resizes the collected rows.
    fn resize(&mut self) {
        self.resampler.feed(&self.rgb, 3 * self.width, self.rows);
        self.rows = 0;
        let ready = self.resampler.ready();
        for row in 0..ready {
            self.output.put(Colour::Rgb, [0, 1, 2].map(|channel| self.resampler.row(row, channel)));
        }
        self.resampler.discard_rows(ready);
    }
}

impl History {
    fn is_subsampled(&self) -> bool {
        self.upsampling != [Upsampling::None; 2]
    }

    /// The samples of a row, or of the first or last row if there is no such row. `strip` is the number of the previous
    /// strip.
    fn row(&self, strip: isize, row: isize) -> &[u8] {
        let row = row.clamp(0, self.height as isize - 1) - strip * self.strip as isize;
        let (rows, row) = match row {
            ..0 => (&self.last, 0),
            row if (row as usize) < self.strip => (&self.previous, row as usize),
            row => (&self.current, row as usize - self.strip),
        };
        &rows[row * self.stride..][..self.width]
    }
}

/// Converts a row of pixels to red, green and blue.
fn convert<L: Lanes>(colours: Colours, [first, second, third, black]: [&[u8]; 4], [r, g, b]: [&mut [u8]; 3]) {
    match colours {
        Colours::YCbCr | Colours::Ycck => ycbcr_to_rgb::<L>([first, second, third], [&mut *r, &mut *g, &mut *b]),
        Colours::Cmyk => {
            for (to, ink) in [(&mut *r, first), (&mut *g, second), (&mut *b, third)] {
                to.iter_mut().zip(ink).for_each(|(to, ink)| *to = 255 - ink);
            }
        }
        Colours::Gray | Colours::Rgb => {
            r.copy_from_slice(first);
            g.copy_from_slice(second);
            b.copy_from_slice(third);
        }
    }
    if matches!(colours, Colours::Cmyk | Colours::Ycck) {
        // libjpeg converts YCCK to inverted inks, and Pillow inverts all inks again. So both kinds are inks here.
        for channel in [r, g, b] {
            channel.iter_mut().zip(black).for_each(|(ink, black)| *ink = without_black(*ink, *black));
        }
    }
}

/// Converts luma and chroma to red, green and blue, bit-identical to libjpeg. [`Lanes::narrow_samples`] adds 128 to the
/// vectors, so they are computed without it.
#[inline(never)]
fn ycbcr_to_rgb<L: Lanes>([y, cb, cr]: [&[u8]; 3], [r, g, b]: [&mut [u8]; 3]) {
    let [y, cb, cr] = [y, cb, cr].map(|component| component.as_chunks::<16>());
    let [r, g, b] = [r, g, b].map(|channel| channel.as_chunks_mut::<16>());
    for ((y, (cb, cr)), ((r, g), b)) in y.0.iter().zip(cb.0.iter().zip(cr.0)).zip(r.0.iter_mut().zip(g.0).zip(b.0)) {
        let [y, cb, cr] = [y, cb, cr].map(L::load_u8);
        let zero = L::splat_i16(0);
        let (low, high) = (cb.low_u8(cr), cb.high_u8(cr));
        let chroma = [low.low_u8(zero), low.high_u8(zero), high.low_u8(zero), high.high_u8(zero)];
        let [red, green, blue] =
            [scaled::<L, 14>(chroma, RED, 128), scaled::<L, 16>(chroma, GREEN, 0), scaled::<L, 14>(chroma, BLUE, 128)];
        let (y, cr) = ([y.low_u8(zero), y.high_u8(zero)], [cr.low_u8(zero), cr.high_u8(zero)]);
        *r = joined(y[0].add_i16(red[0]).narrow_samples(y[1].add_i16(red[1])).halves());
        let green = [0, 1].map(|half| y[half].sub_i16(cr[half]).add_i16(green[half]));
        *g = joined(green[0].narrow_samples(green[1]).halves());
        *b = joined(y[0].add_i16(blue[0]).narrow_samples(y[1].add_i16(blue[1])).halves());
    }
    let byte = |value: i32| value.clamp(0, 255) as u8;
    for ((y, (cb, cr)), ((r, g), b)) in y.1.iter().zip(cb.1.iter().zip(cr.1)).zip(r.1.iter_mut().zip(g.1).zip(b.1)) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        *r = byte(y + ((RED[1] * cr + (1 << 13)) >> 14));
        *g = byte(y - cr + ((GREEN[0] * cb + GREEN[1] * cr + (1 << 15)) >> 16));
        *b = byte(y + ((BLUE[0] * cb + (1 << 13)) >> 14));
    }
}

/// The factors of Cb and Cr. Those of red and blue are 1.402 and 1.772 with 14 fraction bits; with 16 bits, as libjpeg
/// has them, they would not fit into a lane. They are chosen so that the rounded product is the same for all chroma.
const RED: [i32; 2] = [0, 22_971];
const BLUE: [i32; 2] = [29_033, 0];
/// The factors -0.34414 and -0.71414 with 16 fraction bits. Cr is subtracted once more separately.
const GREEN: [i32; 2] = [-22_554, 18_734];

/// The rounded sum of both chroma samples of sixteen pixels, each multiplied by its factor, less `level`. The factors
/// have `SHIFT` fraction bits. Each vector of `chroma` has Cb and Cr of four pixels.
#[inline(always)]
fn scaled<L: Lanes, const SHIFT: u32>(chroma: [L; 4], factors: [i32; 2], level: i32) -> [L; 2] {
    // The samples are 128 too large.
    let offset = (1 << (SHIFT - 1)) - 128 * (factors[0] + factors[1]) - (level << SHIFT);
    let (factors, offset) = (L::splat_i32(factors[0] & 0xFFFF | factors[1] << 16), L::splat_i32(offset));
    let [a, b, c, d] = chroma.map(|pairs| pairs.dot(factors).add_i32(offset).shift_right_i32::<SHIFT>());
    [a.narrow_i32(b), c.narrow_i32(d)]
}

#[inline(always)]
fn joined([low, high]: [[u8; 8]; 2]) -> [u8; 16] {
    (u128::from(u64::from_le_bytes(low)) | u128::from(u64::from_le_bytes(high)) << 64).to_le_bytes()
}

/// The light that an ink and black leave, computed as in Pillow. Black is stored inverted.
#[inline(always)]
fn without_black(ink: u8, black: u8) -> u8 {
    let (ink, light) = (u32::from(ink), u32::from(black));
    let product = ink * light + 128;
    let taken = ((product >> 8) + product) >> 8;
    light.saturating_sub(taken) as u8
}
