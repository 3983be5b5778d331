//! The difference that clamping makes to the pixels of a tile.

use super::ycbcr::clamping;
use crate::lanes::Lanes;
use crate::resample::{TILE_COLUMNS, TILE_ROWS, Tile};

/// The samples of the rows of tiles. Chroma has one sample for two columns. It has eight rows, or if there is one row for
/// two, six: one before and one after those of the tiles.
pub(super) struct Rows<'r, const N: usize> {
    pub(super) luma: [&'r [u8]; TILE_ROWS],
    pub(super) chroma: [[&'r [u8]; N]; 2],
    /// Samples of a row of chroma.
    pub(super) width: usize,
}

/// The samples of a row of a tile, with the one before and at least the one after them.
type Samples = [u8; TILE_COLUMNS / 2 + 10];

impl<const N: usize> Rows<'_, N> {
    /// Computes the differences. For each channel, the result is the disjunction of all differences.
    #[inline(never)]
    pub(super) fn differences<L: Lanes>(&self, tile: usize, differences: &mut [Tile; 3]) -> [L; 3] {
        let (blue, red) =
            (across::<L, N>(&self.chroma[0], tile, self.width), across::<L, N>(&self.chroma[1], tile, self.width));
        let mut all = [L::splat_i16(0); 3];
        // Two rows in each iteration, because the vertical filter alternates.
        for pair in 0..TILE_ROWS / 2 {
            let (blue, red) = (down(&blue, pair), down(&red, pair));
            self.row(2 * pair, tile, [blue[0], red[0]], differences, &mut all);
            self.row(2 * pair + 1, tile, [blue[1], red[1]], differences, &mut all);
        }
        all
    }

    /// The differences of a row, from chroma less 128.
    #[inline(always)]
    fn row<L: Lanes>(
        &self,
        row: usize,
        tile: usize,
        [blue, red]: [[L; 2]; 2],
        differences: &mut [Tile; 3],
        all: &mut [L; 3],
    ) {
        let zero = L::splat_i16(0);
        let luma = L::load_u8(&self.luma[row].as_chunks().0[tile]);
        let low = clamping([luma.low_u8(zero), blue[0], red[0]]);
        let high = clamping([luma.high_u8(zero), blue[1], red[1]]);
        for channel in 0..3 {
            let halves = differences[channel][row].as_chunks_mut::<8>().0;
            low[channel].store_i16(&mut halves[0]);
            high[channel].store_i16(&mut halves[1]);
            all[channel] = all[channel].or(low[channel]).or(high[channel]);
        }
    }
}

/// For each row, the horizontal triangle filter between the samples of a tile: the sums for even and for odd columns.
#[inline(always)]
fn across<L: Lanes, const N: usize>(rows: &[&[u8]; N], tile: usize, width: usize) -> [[L; 2]; N] {
    let first = tile * (TILE_COLUMNS / 2);
    let is_inside = first > 0 && first + TILE_COLUMNS / 2 < width;
    let mut across = [[L::splat_i16(0); 2]; N];
    for (sums, row) in across.iter_mut().zip(rows) {
        *sums = match row.get(first.wrapping_sub(1)..).and_then(|row| row.first_chunk()) {
            Some(samples) if is_inside => sums_of(samples),
            _ => sums_of(&edge(row, first, width)),
        };
    }
    across
}

#[inline(always)]
fn sums_of<L: Lanes>(samples: &Samples) -> [L; 2] {
    let eight = |offset: usize| {
        L::load_u8(samples[offset..].first_chunk().expect("the offset is at most 2")).low_u8(L::splat_i16(0))
    };
    let this = eight(1).mul_i16(L::splat_i16(3));
    [this.add_i16(eight(0)), this.add_i16(eight(2))]
}

/// Samples at an edge, where the neighbour of a sample is the sample itself.
#[cold]
#[inline(never)]
fn edge(row: &[u8], first: usize, width: usize) -> Samples {
    std::array::from_fn(|index| row[(first + index).saturating_sub(1).min(width - 1)])
}

/// Two rows of pixels less 128, by the vertical triangle filter if there is one row of sums for two rows. The rounding is
/// that of `upsample`.
#[inline(always)]
fn down<L: Lanes, const N: usize>(sums: &[[L; 2]; N], pair: usize) -> [[L; 2]; 2] {
    if N == TILE_ROWS {
        let row = |[even, odd]: [L; 2]| {
            let rounded =
                |sum: L, rounding: i16| sum.add_i16(L::splat_i16(rounding - (128 << 2))).shift_right_i16::<2>();
            interleaved(rounded(even, 1), rounded(odd, 2))
        };
        return [row(sums[2 * pair]), row(sums[2 * pair + 1])];
    }
    let three = L::splat_i16(3);
    let near = sums[pair + 1].map(|sum| sum.mul_i16(three));
    let row = |far: [L; 2]| {
        let rounded = |column: usize, rounding: i16| {
            near[column].add_i16(far[column]).add_i16(L::splat_i16(rounding - (128 << 4))).shift_right_i16::<4>()
        };
        interleaved(rounded(0, 8), rounded(1, 7))
    };
    [row(sums[pair]), row(sums[pair + 2])]
}

#[inline(always)]
fn interleaved<L: Lanes>(even: L, odd: L) -> [L; 2] {
    [even.low_i16(odd), even.high_i16(odd)]
}
