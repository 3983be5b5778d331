//! Converts all components to the colours of pixels, and resizes these.

use super::colours::Colours;
use super::headers::Headers;
use super::plane::{Plane, upsampling};
use super::upsample::upsample;
use crate::lanes::Lanes;
use crate::output::{Colour, Output};
use crate::resample::{Resampler, Side, Upsampling, resampler_bytes, result_bytes};

/// The number of rows that the resampler adds up at once.
const ROWS: usize = 16;

/// Collects the rows of all components, and resizes red, green and blue.
pub(super) struct Pixels<'o, 'a, L> {
    output: &'o mut Output<'a>,
    resamplers: [Resampler<L>; 3],
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
    /// A row of pixels of each component.
    components: [Vec<u8>; 4],
    /// Scratch space for a row of samples.
    sums: Vec<u16>,
    /// Rows of red, green and blue, which were not yet resized.
    rgb: [Vec<u8>; 3],
    /// The number of these rows, and how many are resized at once.
    rows: usize,
    rows_at_once: usize,
}

/// The last rows of samples of a component. A row of pixels may need samples of the next strip, so it is converted when
/// that strip has arrived.
struct History {
    /// The last row before the previous strip, the previous strip and the current strip.
    rows: Vec<u8>,
    /// Samples of a row.
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
            let rows = vec![0; (1 + 2 * strip) * width];
            History { rows, width, height, strip, upsampling: upsampling(headers, component) }
        });
        let (width, height) = (headers.width, headers.height);
        let resampler = |_| Resampler::new(1, width, Side::of(width), Side::of(height), output.x, output.y);
        let resamplers: [Resampler<L>; 3] = std::array::from_fn(resampler);
        // If the height grows, a row gives several rows of the result, which take memory.
        let rows_at_once = if resamplers[0].grows() { 1 } else { ROWS };
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
            rgb: std::array::from_fn(|_| vec![0; rows_at_once * width]),
            rows: 0,
            rows_at_once,
            resamplers,
            output,
        }
    }

    /// Takes the strips of all components, and converts the rows of the previous strips.
    pub(super) fn take_strips<'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        for (plane, history) in planes.zip(&mut self.histories) {
            history.rows.copy_within(history.strip * history.width.., 0);
            let current = &mut history.rows[(1 + history.strip) * history.width..];
            for (row, samples) in current.chunks_exact_mut(history.width).zip(plane.strip.chunks_exact(plane.stride)) {
                row.copy_from_slice(&samples[..history.width]);
            }
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
            for (history, pixels) in self.histories.iter().zip(&mut self.components) {
                // The index of the row that is first in the history.
                let first = (self.taken as isize - 2) * history.strip as isize - 1;
                let row = |row: isize| {
                    let row = row.clamp(0, history.height as isize - 1);
                    &history.rows[(row - first) as usize * history.width..][..history.width]
                };
                upsample(history.upsampling, y, row, &mut self.sums[..history.width], pixels);
            }
            let from = self.rows * self.width;
            let rgb = self.rgb.each_mut().map(|channel| &mut channel[from..][..self.width]);
            convert(self.colours, self.components.each_ref().map(Vec::as_slice), rgb);
            self.rows += 1;
            if self.rows == self.rows_at_once {
                self.resize();
            }
        }
        self.converted = self.converted.max(end);
    }

    /// Resizes the collected rows.
    fn resize(&mut self) {
        for (resampler, channel) in self.resamplers.iter_mut().zip(&self.rgb) {
            resampler.feed(channel, self.width, self.rows);
        }
        self.rows = 0;
        let ready = self.resamplers[0].ready();
        for row in 0..ready {
            self.output.put(Colour::Rgb, self.resamplers.each_ref().map(|resampler| resampler.row(row, 0)));
        }
        self.resamplers.iter_mut().for_each(|resampler| resampler.discard_rows(ready));
    }
}

/// Converts a row of pixels to red, green and blue.
fn convert(colours: Colours, [first, second, third, black]: [&[u8]; 4], [r, g, b]: [&mut [u8]; 3]) {
    match colours {
        Colours::YCbCr | Colours::Ycck => ycbcr_to_rgb([first, second, third], [&mut *r, &mut *g, &mut *b]),
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

/// Converts luma and chroma to red, green and blue, bit-identical to libjpeg.
fn ycbcr_to_rgb([y, cb, cr]: [&[u8]; 3], [r, g, b]: [&mut [u8]; 3]) {
    // The product of twice the chroma and a factor with 16 fraction bits, halved and rounded. It fits into 16 bits, so
    // that vector instructions are used.
    let scaled = |chroma: i16, factor: i16| (((i32::from(2 * chroma) * i32::from(factor)) >> 16) as i16 + 1) >> 1;
    let byte = |value: i16| value.clamp(0, 255) as u8;
    let chroma = cb.iter().zip(cr);
    for ((((y, (cb, cr)), r), g), b) in y.iter().zip(chroma).zip(r).zip(g).zip(b) {
        let (y, cb, cr) = (i16::from(*y), i16::from(*cb) - 128, i16::from(*cr) - 128);
        // The factors are 1.402, -0.34414, -0.71414 and 1.772; whole multiples are added separately.
        *r = byte(y + cr + scaled(cr, 26_345));
        let green = (i32::from(cb) * -22_554 + i32::from(cr) * 18_734 + (1 << 15)) >> 16;
        *g = byte(y - cr + green as i16);
        *b = byte(y + 2 * cb + scaled(cb, -14_942));
    }
}

/// The light that remains of an ink and of black, which is inverted; as in Pillow.
#[inline(always)]
fn without_black(ink: u8, black: u8) -> u8 {
    let (ink, light) = (u32::from(ink), u32::from(black));
    let product = ink * light + 128;
    let taken = ((product >> 8) + product) >> 8;
    light.saturating_sub(taken) as u8
}
