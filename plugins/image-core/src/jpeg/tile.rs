//! The difference that clamping makes to the pixels of a tile.

use super::bounds::Found;
use super::ycbcr::clamping;
use crate::lanes::Lanes;
use crate::resample::{TILE_COLUMNS, TILE_ROWS, Tile};

/// Chroma of the pixels of a tile, less 128: the low and the high half of each row.
type Pixels<L> = [[L; 2]; TILE_ROWS];

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
    /// Computes the differences of a tile in the channels that may have some. `use_channel` gets the channel and its
    /// differences, if one of them is not 0.
    #[inline(always)]
    pub(super) fn differences<L: Lanes>(
        &self,
        found: Found,
        differences: &mut Tile,
        mut use_channel: impl FnMut(usize, &Tile),
    ) {
        let none = [[L::splat_i16(0); 2]; TILE_ROWS];
        let (mut blue, mut red) = (none, none);
        // Green has both.
        if found.has(2) || found.has(1) {
            self.pixels(0, found.tile(), &mut blue);
        }
        if found.has(0) || found.has(1) {
            self.pixels(1, found.tile(), &mut red);
        }
        if found.has(0) && self.channel::<L, 0>(found.tile(), &blue, &red, differences) {
            use_channel(0, differences);
        }
        if found.has(1) && self.channel::<L, 1>(found.tile(), &blue, &red, differences) {
            use_channel(1, differences);
        }
        if found.has(2) && self.channel::<L, 2>(found.tile(), &blue, &red, differences) {
            use_channel(2, differences);
        }
    }

    /// Chroma of the pixels of a tile.
    #[inline(never)]
    fn pixels<L: Lanes>(&self, plane: usize, tile: usize, pixels: &mut Pixels<L>) {
        let sums = across::<L, N>(&self.chroma[plane], tile, self.width);
        // Unrolled by hand: for WebAssembly, each iteration of a loop moves all constants from and to memory.
        [pixels[0], pixels[1]] = down::<L, N>(&sums, 0);
        [pixels[2], pixels[3]] = down::<L, N>(&sums, 1);
        [pixels[4], pixels[5]] = down::<L, N>(&sums, 2);
        [pixels[6], pixels[7]] = down::<L, N>(&sums, 3);
    }

    /// The differences of one channel. False if all are 0.
    #[inline(never)]
    fn channel<L: Lanes, const CHANNEL: usize>(
        &self,
        tile: usize,
        blue: &Pixels<L>,
        red: &Pixels<L>,
        differences: &mut Tile,
    ) -> bool {
        // Unrolled by hand, as above.
        let a = self.two_rows::<L, CHANNEL>(0, tile, blue, red, &mut differences[0]);
        let b = self.two_rows::<L, CHANNEL>(1, tile, blue, red, &mut differences[1]);
        let c = self.two_rows::<L, CHANNEL>(2, tile, blue, red, &mut differences[2]);
        let d = self.two_rows::<L, CHANNEL>(3, tile, blue, red, &mut differences[3]);
        !a.or(b).or(c).or(d).is_zero()
    }

    /// The differences of two rows. Returns their disjunction.
    #[inline(always)]
    fn two_rows<L: Lanes, const CHANNEL: usize>(
        &self,
        pair: usize,
        tile: usize,
        blue: &Pixels<L>,
        red: &Pixels<L>,
        differences: &mut [[i16; 8]; 4],
    ) -> L {
        let zero = L::splat_i16(0);
        let row = |row: usize| {
            let luma = L::load_u8(&self.luma[row].as_chunks().0[tile]);
            [
                clamping::<L, CHANNEL>([luma.low_u8(zero), blue[row][0], red[row][0]]),
                clamping::<L, CHANNEL>([luma.high_u8(zero), blue[row][1], red[row][1]]),
            ]
        };
        let (above, below) = (row(2 * pair), row(2 * pair + 1));
        above[0].low_i16(below[0]).store_i16(&mut differences[0]);
        above[0].high_i16(below[0]).store_i16(&mut differences[1]);
        above[1].low_i16(below[1]).store_i16(&mut differences[2]);
        above[1].high_i16(below[1]).store_i16(&mut differences[3]);
        above[0].or(above[1]).or(below[0]).or(below[1])
    }
}

/// For each row, the horizontal triangle filter between the samples of a tile: the sums for even and for odd columns. If
/// there are fewer rows than the result has, the last one is repeated.
#[inline(always)]
fn across<L: Lanes, const N: usize>(rows: &[&[u8]; N], tile: usize, width: usize) -> [[L; 2]; TILE_ROWS] {
    let first = tile * (TILE_COLUMNS / 2);
    let padded = rows[0].len();
    if first == 0 || first + TILE_COLUMNS / 2 >= width || first - 1 + size_of::<Samples>() > padded {
        return std::array::from_fn(|row| sums_of(&edge(rows[row.min(N - 1)], first, width)));
    }
    // Unrolled by hand, as above.
    let sums = |row: usize| sums_in::<L>(rows[row.min(N - 1)], first - 1);
    let [a, b, c, d, e, f] = [sums(0), sums(1), sums(2), sums(3), sums(4), sums(5)];
    if N > 6 { [a, b, c, d, e, f, sums(6), sums(7)] } else { [a, b, c, d, e, f, f, f] }
}

/// The sums of the samples from `first` on.
#[inline(always)]
fn sums_in<L: Lanes>(row: &[u8], first: usize) -> [L; 2] {
    match row[first..].first_chunk() {
        Some(samples) => sums_of(samples),
        None => unreachable!("all rows have the same length"),
    }
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
    // All samples as one number, because a loop over them takes longer than a tile.
    let before = first.saturating_sub(1);
    let start = before.min(row.len().saturating_sub(16));
    let sixteen = row[start..].first_chunk::<16>().expect("a padded row has at least sixteen samples");
    let mut number = u128::from_le_bytes(*sixteen) >> (8 * (before - start));
    if first == 0 {
        number = number << 8 | u128::from(row[0]);
    }
    // The samples of the image, with the one before the first.
    let count = width + 1 - first;
    if count < 16 {
        let image = (1 << (8 * count)) - 1;
        number = (number & image) | ((u128::from(row[width - 1]) * (u128::MAX / 255)) & !image);
    }
    let mut samples = [row[width - 1]; size_of::<Samples>()];
    samples[..16].copy_from_slice(&number.to_le_bytes());
    samples
}

/// Two rows of pixels less 128, by the vertical triangle filter if there is one row of sums for two rows. The rounding is
/// that of `upsample`.
#[inline(always)]
fn down<L: Lanes, const N: usize>(sums: &[[L; 2]; TILE_ROWS], pair: usize) -> [[L; 2]; 2] {
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
