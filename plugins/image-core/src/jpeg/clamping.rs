//! The difference that clamping makes. The conversion of luma and chroma to red, green and blue is linear, except that
//! colours outside of RGB are clamped. So an image that is reduced may be resized before it is converted, if the
//! difference that clamping makes to its pixels is resized as well and added. It is zero for most pixels.

use super::bounds::{Bounds, Found};
use super::headers::Headers;
use super::history::{History, histories_bytes};
use super::plane::{Plane, upsampling};
use super::tile::Rows;
use crate::lanes::Lanes;
use crate::output::Output;
use crate::resample::{SparseResampler, TILE_COLUMNS, TILE_ROWS, Tile, Upsampling, result_bytes, sparse_bytes};

/// Finds the pixels that are outside of RGB, and resizes the difference that clamping makes to them.
pub(super) struct Clamping<L> {
    histories: Vec<History>,
    width: usize,
    height: usize,
    /// Pixel rows of a row of MCUs.
    strip: usize,
    /// The strips that were taken.
    taken: usize,
    /// The rows of pixels that were converted.
    converted: usize,
    bounds: Bounds,
    /// The tiles of the current rows that may have such pixels.
    found: Vec<Found>,
    /// The number of tiles found in all rows.
    all_found: usize,
    /// The differences of a channel of a tile.
    differences: Box<Tile>,
    resampler: SparseResampler<L>,
}

/// True if luma has a sample for each pixel, and chroma has one for two columns and for one or two rows.
pub(super) fn is_supported(headers: &Headers) -> bool {
    let [luma, blue, red] = &headers.components[..] else { return false };
    (luma.across, luma.down) == (headers.widest, headers.tallest)
        && (blue.across, blue.down) == (red.across, red.down)
        && matches!(upsampling(headers, blue), [Upsampling::Triangle, Upsampling::None | Upsampling::Triangle])
}

/// Estimates the bytes that [`Clamping::new`] allocates, and those of the strips.
pub(super) fn clamping_bytes(headers: &Headers, output: &Output) -> u64 {
    let (width, height) = (headers.width as u64, headers.height as u64);
    let rows = result_bytes(TILE_ROWS as u64, width, height, output.x, output.y);
    histories_bytes(headers) + 24 * width + sparse_bytes(width, height, output.y) + 3 * rows
}

impl<L: Lanes> Clamping<L> {
    /// `luma` is the plane of luma.
    pub(super) fn new(headers: &Headers, output: &Output, luma: &Plane<L>) -> Self {
        let histories: Vec<_> = headers.components.iter().map(|component| History::new(headers, component)).collect();
        let (width, height) = (headers.width, headers.height);
        let tiles = width.div_ceil(TILE_COLUMNS);
        let windows = luma.resampler.as_ref().expect("luma is resized").windows();
        Clamping {
            bounds: Bounds::new(histories[1].stride()),
            histories,
            width,
            height,
            strip: 8 * headers.tallest,
            taken: 0,
            converted: 0,
            found: Vec::with_capacity(tiles),
            all_found: 0,
            differences: Box::new([[[0; 8]; TILE_COLUMNS / 4]; TILE_ROWS / 2]),
            resampler: SparseResampler::new(width, height, output.y, windows),
        }
    }

    /// Takes the strips of all components, and processes the rows of the previous strips.
    pub(super) fn take_strips<'p>(&mut self, planes: impl Iterator<Item = &'p mut Plane<L>>)
    where
        L: 'p,
    {
        for (plane, history) in planes.zip(&mut self.histories) {
            history.take_strip(&mut plane.strip);
        }
        self.taken += 1;
        self.process_rows((self.taken - 1) * self.strip);
    }

    /// Processes the remaining rows. Call after the last strip.
    pub(super) fn finish(&mut self) {
        self.process_rows(self.height);
        self.resampler.finish_windows(self.height);
    }

    /// True if at least a sixteenth of the rows were processed, and more than half of their tiles were found.
    pub(super) fn is_dense(&self) -> bool {
        let tiles = self.converted / TILE_ROWS * self.width.div_ceil(TILE_COLUMNS);
        self.converted >= self.height / 16 && 2 * self.all_found > tiles
    }

    /// The resized differences that were not discarded yet.
    pub(super) fn resampler(&mut self) -> &mut SparseResampler<L> {
        &mut self.resampler
    }

    fn process_rows(&mut self, end: usize) {
        let end = end.min(self.height);
        while self.converted < end {
            let rows = TILE_ROWS.min(end - self.converted);
            match self.histories[1].upsampling[1] {
                Upsampling::None => self.process_tiles::<8>(rows, self.converted as isize),
                // The rows before and after those of the tiles contribute too.
                _ => self.process_tiles::<6>(rows, (self.converted / 2) as isize - 1),
            }
        }
    }

    /// Processes the next rows: finds the tiles whose colours may be outside of RGB, and passes the differences that are
    /// not zero to the resampler. `N` rows of chroma from `first` on contribute to them.
    fn process_tiles<const N: usize>(&mut self, rows: usize, first: isize) {
        let (strip, y) = (self.taken as isize - 2, self.converted);
        let [luma, blue, red] = &self.histories[..] else { unreachable!("three components") };
        // The padding of luma may have more tiles than the image.
        let columns = self.width.next_multiple_of(TILE_COLUMNS);
        let samples = Rows::<N> {
            luma: rows_from(luma, strip, y as isize).map(|row| &row[..columns]),
            chroma: [blue, red].map(|history| rows_from(history, strip, first)),
            width: blue.width(),
        };
        self.found.clear();
        self.bounds.find::<L, N>(samples.luma, samples.chroma, &mut self.found);
        self.all_found += self.found.len();
        if !self.found.is_empty() {
            self.resampler.begin_rows(y..y + rows);
        }
        for &found in &self.found {
            samples.differences::<L>(found, &mut self.differences, |channel, differences| {
                self.resampler.add(found.tile(), channel, differences);
            });
        }
        self.converted += rows;
        self.resampler.finish_windows(self.converted);
    }
}

/// `N` rows of a component.
fn rows_from<const N: usize>(history: &History, strip: isize, first: isize) -> [&[u8]; N] {
    std::array::from_fn(|row| history.padded_row(strip, first + row as isize))
}
