//! Converts all components to the colours of pixels, and resizes these.

use super::colours::Colours;
use super::headers::Headers;
use super::history::{History, histories_bytes};
use super::plane::Plane;
use super::upsample::{Sums, upsample};
use super::ycbcr::ycbcr_to_rgb;
use crate::lanes::Lanes;
use crate::output::{Colour, Output};
use crate::resample::{Resampler, Side, resampler_bytes, result_bytes};

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
    /// A row of pixels of each component that is subsampled, padded to a multiple of sixteen.
    components: [Vec<u8>; 4],
    sums: Sums,
    /// Rows that were not yet resized: each has a row of red, one of green and one of blue.
    rgb: Vec<u8>,
    /// The number of these rows, and how many are resized at once.
    rows: usize,
    rows_at_once: usize,
}

/// Estimates the bytes that [`Pixels::new`] allocates, and those of the strips.
pub(super) fn pixels_bytes(headers: &Headers, output: &Output) -> u64 {
    let (width, height) = (headers.width as u64, headers.height as u64);
    let rows = (3 * ROWS as u64 + 6) * width;
    let resized = resampler_bytes(3, width, height, output.y);
    let fed = if height < output.y.full { 1 } else { ROWS as u64 };
    histories_bytes(headers) + rows + resized + 3 * result_bytes(fed, width, height, output.x, output.y)
}

impl<'o, 'a, L: Lanes> Pixels<'o, 'a, L> {
    pub(super) fn new(headers: &Headers, output: &'o mut Output<'a>) -> Self {
        let histories: Vec<_> = headers.components.iter().map(|component| History::new(headers, component)).collect();
        let stride = histories.iter().map(History::stride).max().unwrap_or(0);
        let (width, height) = (headers.width, headers.height);
        let resampler = Resampler::planar(3, width, Side::of(width), Side::of(height), output.x, output.y);
        // If the height grows, a row gives several rows of the result, which take memory.
        let rows_at_once = if resampler.grows() { 1 } else { ROWS };
        Pixels {
            histories,
            colours: headers.colours,
            width,
            height,
            strip: 8 * headers.tallest,
            taken: 0,
            converted: 0,
            components: std::array::from_fn(|_| vec![0; width.next_multiple_of(16)]),
            sums: Sums::new(stride),
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
            history.take_strip(&mut plane.strip);
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
                    upsample::<L>(history, strip, y, self.width, &mut self.sums, pixels);
                }
            }
            let row = |component: usize| match self.histories.get(component) {
                Some(history) if !history.is_subsampled() => history.row(strip, y as isize),
                _ => &self.components[component][..self.width],
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

/// The light that an ink and black leave, computed as in Pillow. Black is stored inverted.
#[inline(always)]
fn without_black(ink: u8, black: u8) -> u8 {
    let (ink, light) = (u32::from(ink), u32::from(black));
    let product = ink * light + 128;
    let taken = ((product >> 8) + product) >> 8;
    light.saturating_sub(taken) as u8
}
