//! Resizes rows that are mostly zero: only the tiles that are not zero are added up. For images whose height shrinks.

use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use super::finished::FinishedRows;
use crate::geometry::Axis;
use crate::kernels::{accumulate_tile, filter_part, narrow_tile, pair};
use crate::lanes::Lanes;
use crate::windows::Windows;

/// A tile has this number of rows and columns.
pub(crate) const TILE_ROWS: usize = 8;
pub(crate) const TILE_COLUMNS: usize = 16;
const CHANNELS: usize = 3;

/// One channel of a tile: for each two rows, four vectors of four columns each, which alternate between both rows.
pub(crate) type Tile = [[[i16; 8]; TILE_COLUMNS / 4]; TILE_ROWS / 2];

/// Resizes three channels.
pub(crate) struct SparseResampler<L> {
    horizontal: Rc<Windows>,
    vertical: Rc<Windows>,
    /// The tiles of a row.
    tiles: usize,
    /// `slots` rows of sums, used as a ring: the tiles of each channel.
    sums: Vec<[i32; TILE_COLUMNS]>,
    slots: usize,
    /// One bit for each tile of each channel of each slot: 1 if its sums are set. A channel has `words` numbers.
    set: Vec<u64>,
    words: usize,
    /// The slots of the windows that overlap the current rows, and their weights of each two of these rows.
    current: Vec<(usize, [i32; TILE_ROWS / 2])>,
    /// For each tile, the first window that overlaps it, rounded down to a multiple of four, and the first one after it.
    overlaps: Vec<[u32; 2]>,
    /// One row of a channel, the input of the horizontal filter. All samples are 0, except while it is used.
    samples: Vec<i16>,
    /// The tiles that are set in the row.
    runs: Vec<Range<usize>>,
    /// The number of finished rows of the result.
    done: usize,
    finished: FinishedRows,
    lanes: PhantomData<L>,
}

/// The rows of sums that are needed at the same time.
fn slots(scale: f64, longest: f64) -> f64 {
    (TILE_ROWS as f64 + longest) / scale + 2.0
}

/// Estimates the bytes that a resampler allocates, without those of its windows and of the rows of the result.
pub(crate) fn sparse_bytes(width: u64, height: u64, y: Axis) -> u64 {
    let scale = height as f64 / y.full as f64;
    let slots = slots(scale, 2.0 * scale + 3.0) + 1.0;
    ((width + 16) as f64 * (CHANNELS as f64 * 4.0 * slots + slots / 16.0 + 2.5)) as u64
}

impl<L: Lanes> SparseResampler<L> {
    /// For an image of this size and its horizontal and vertical windows.
    pub(crate) fn new(width: usize, height: usize, y: Axis, [horizontal, vertical]: [Rc<Windows>; 2]) -> Self {
        let finished = FinishedRows::new(CHANNELS, horizontal.count());
        let tiles = width.div_ceil(TILE_COLUMNS);
        let scale = height as f64 / y.full as f64;
        let slots = (slots(scale, vertical.longest() as f64).ceil() as usize).min(vertical.count());
        let overlaps = (0..tiles).map(|tile| {
            let windows = horizontal.overlapping(tile * TILE_COLUMNS..(tile + 1) * TILE_COLUMNS);
            [windows.start as u32, windows.end as u32]
        });
        SparseResampler {
            overlaps: overlaps.collect(),
            samples: vec![0; tiles * TILE_COLUMNS + horizontal.span() + 8],
            horizontal,
            vertical,
            tiles,
            sums: vec![[0; TILE_COLUMNS]; slots * CHANNELS * tiles],
            slots,
            set: vec![0; slots * CHANNELS * tiles.div_ceil(64)],
            words: tiles.div_ceil(64),
            current: Vec::new(),
            runs: Vec::new(),
            done: 0,
            finished,
            lanes: PhantomData,
        }
    }

    /// Begins the next rows. All windows that end before them are finished.
    pub(crate) fn begin_rows(&mut self, rows: Range<usize>) {
        self.finish_windows(rows.start);
        self.current.clear();
        for window in self.done..self.vertical.count() {
            let (start, end) = (self.vertical.start(window), self.vertical.end(window));
            if start >= rows.end {
                break;
            }
            let mut weights = [0; TILE_ROWS];
            for row in start.max(rows.start)..end.min(rows.end) {
                weights[row - rows.start] = self.vertical.weights(window)[row - start];
            }
            let pairs = weights.as_chunks::<2>().0;
            self.current.push((window % self.slots, std::array::from_fn(|two| pair(pairs[two][0], pairs[two][1]))));
        }
    }

    /// Adds a channel of a tile of the current rows.
    pub(crate) fn add(&mut self, tile: usize, channel: usize, samples: &Tile) {
        for (slot, weights) in &self.current {
            let row = slot * CHANNELS + channel;
            let set = &mut self.set[row * self.words + tile / 64];
            let begin = *set >> (tile % 64) & 1 == 0;
            *set |= 1 << (tile % 64);
            let sums = &mut self.sums[row * self.tiles + tile];
            accumulate_tile::<L>(samples, weights, sums, begin);
        }
    }

    /// Finishes the windows that end at or before this row.
    pub(crate) fn finish_windows(&mut self, end: usize) {
        while self.done < self.vertical.count() && self.vertical.end(self.done) <= end {
            self.finish_window();
            self.done += 1;
        }
    }

    fn finish_window(&mut self) {
        let columns = self.finished.columns();
        let out = self.finished.next_row();
        let slot = self.done % self.slots;
        for (channel, out) in out.chunks_exact_mut(columns).enumerate() {
            let row = slot * CHANNELS + channel;
            take_runs(&mut self.set[row * self.words..][..self.words], &mut self.runs);
            if self.runs.is_empty() {
                out.fill(0.0);
                continue;
            }
            let sums = &self.sums[row * self.tiles..][..self.tiles];
            let tiles = self.samples.as_chunks_mut::<TILE_COLUMNS>().0;
            for tile in self.runs.iter().cloned().flatten() {
                narrow_tile::<L>(&sums[tile], &mut tiles[tile]);
            }
            // The windows may begin before the first tile of a run and end after the last one.
            out.fill(0.0);
            let mut done = 0;
            for run in &self.runs {
                let (first, end) = (self.overlaps[run.start][0] as usize, self.overlaps[run.end - 1][1] as usize);
                let windows = first.max(done)..end;
                if !windows.is_empty() {
                    done = windows.end.next_multiple_of(4);
                    filter_part::<L>(&self.samples, &self.horizontal, windows, out);
                }
            }
            let tiles = self.samples.as_chunks_mut::<TILE_COLUMNS>().0;
            for run in &self.runs {
                tiles[run.clone()].fill([0; TILE_COLUMNS]);
            }
        }
    }

    /// The number of finished rows of the result that were not discarded yet.
    pub(crate) fn ready(&self) -> usize {
        self.finished.ready()
    }

    /// The channels of a finished row of the result; row 0 is the oldest.
    pub(crate) fn row(&self, ready: usize) -> [&[f32]; CHANNELS] {
        std::array::from_fn(|channel| self.finished.row(ready, channel))
    }

    /// Discards the given number of finished rows, oldest first.
    pub(crate) fn discard_rows(&mut self, rows: usize) {
        self.finished.discard(rows);
    }
}

/// Finds the runs of bits that are 1, and sets these bits to 0.
fn take_runs(set: &mut [u64], runs: &mut Vec<Range<usize>>) {
    runs.clear();
    for (word, bits) in set.iter_mut().enumerate() {
        let mut rest = std::mem::take(bits);
        let mut first = 64 * word;
        while rest != 0 {
            let zeros = rest.trailing_zeros();
            rest >>= zeros;
            first += zeros as usize;
            let ones = rest.trailing_ones();
            rest = rest.checked_shr(ones).unwrap_or(0);
            let run = first..first + ones as usize;
            first = run.end;
            match runs.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => runs.push(run),
            }
        }
    }
}
