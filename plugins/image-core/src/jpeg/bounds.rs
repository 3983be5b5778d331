//! Finds the tiles of an image whose colours may be outside of RGB, from the smallest and the largest samples of each
//! column of a tile. Few tiles of a photograph are found, and this test takes less time than their conversion.

use super::ycbcr::joined;
use crate::lanes::Lanes;
use crate::resample::{TILE_COLUMNS, TILE_ROWS};

/// Sixteen samples of each of `N` rows.
type Rows<'r, const N: usize> = [&'r [[u8; 16]]; N];

/// The limits that the chroma samples set for luma.
pub(super) struct Bounds {
    /// For each column of chroma, the largest luma for which no colour exceeds 255. One more entry at the start and some
    /// at the end.
    most: Vec<u8>,
    /// The smallest luma for which no colour is below 0, in the same way.
    least: Vec<u8>,
}

impl Bounds {
    /// For rows of `stride` chroma samples, which is a multiple of [`TILE_COLUMNS`].
    pub(super) fn new(stride: usize) -> Bounds {
        Bounds { most: vec![255; stride + 33], least: vec![0; stride + 33] }
    }

    /// Finds the tiles, from left to right, whose colours may be outside of RGB by more than one. `luma` has the rows of the
    /// tiles, `blue` and `red` have all rows of chroma that contribute to them.
    pub(super) fn find<L: Lanes, const N: usize>(
        &mut self,
        luma: [&[u8]; TILE_ROWS],
        [blue, red]: [[&[u8]; N]; 2],
        found: &mut Vec<usize>,
    ) {
        limit_luma::<L, N>(blue.map(chunks), red.map(chunks), &mut self.most[1..], &mut self.least[1..]);
        compare::<L>(luma.map(chunks), &self.most, &self.least, found);
    }
}

fn chunks(row: &[u8]) -> &[[u8; 16]] {
    row.as_chunks().0
}

/// The smallest and the largest samples of each column.
#[inline(always)]
fn extremes<L: Lanes, const N: usize>(rows: &Rows<N>, at: usize) -> [L; 2] {
    let first = L::load_u8(&rows[0][at]);
    rows[1..].iter().fold([first; 2], |[least, most], row| {
        let row = L::load_u8(&row[at]);
        [least.min_u8(row), most.max_u8(row)]
    })
}

#[inline(never)]
fn limit_luma<L: Lanes, const N: usize>(blue: Rows<N>, red: Rows<N>, most: &mut [u8], least: &mut [u8]) {
    let count = blue[0].len();
    let (blue, red) = (blue.map(|row| &row[..count]), red.map(|row| &row[..count]));
    let (most, least) = (&mut most.as_chunks_mut::<16>().0[..count], &mut least.as_chunks_mut::<16>().0[..count]);
    let zero = L::splat_i16(0);
    for (at, (most, least)) in most.iter_mut().zip(least).enumerate() {
        let (blue, red) = (extremes::<L, N>(&blue, at), extremes::<L, N>(&red, at));
        let low = limits([blue[0].low_u8(zero), blue[1].low_u8(zero)], [red[0].low_u8(zero), red[1].low_u8(zero)]);
        let high = limits([blue[0].high_u8(zero), blue[1].high_u8(zero)], [red[0].high_u8(zero), red[1].high_u8(zero)]);
        *most = joined(low[0].narrow_samples(high[0]).halves());
        *least = joined(low[1].narrow_samples(high[1]).halves());
    }
}

/// The largest and the smallest luma for eight columns, less 128. The factors are those of the conversion to colours,
/// with 7 or 8 fraction bits, so the limits may be off by one.
#[inline(always)]
fn limits<L: Lanes>(blue: [L; 2], red: [L; 2]) -> [L; 2] {
    let middle = L::splat_i16(128);
    let [blue, red] = [blue, red].map(|extremes| extremes.map(|samples| samples.sub_i16(middle)));
    let times = |samples: L, factor: i16| samples.mul_i16(L::splat_i16(factor));
    let to_red = |red: L| red.add_i16(times(red, 103).shift_right_i16::<8>());
    let to_blue = |blue: L| blue.add_i16(blue).sub_i16(times(blue, 58).shift_right_i16::<8>());
    let from_green = |blue: L, red: L| times(blue, 44).add_i16(times(red, 91)).shift_right_i16::<7>();
    let zero = L::splat_i16(0);
    let above = to_red(red[1]).max_i16(to_blue(blue[1])).max_i16(zero.sub_i16(from_green(blue[0], red[0])));
    let below = to_red(red[0]).min_i16(to_blue(blue[0])).min_i16(zero.sub_i16(from_green(blue[1], red[1])));
    [L::splat_i16(127).sub_i16(above), L::splat_i16(-128).sub_i16(below)]
}

/// Finds the tiles with luma outside of its limits. A limit is for two columns, and the limits next to it are for these
/// columns too.
#[inline(never)]
fn compare<L: Lanes>(luma: Rows<TILE_ROWS>, most: &[u8], least: &[u8], found: &mut Vec<usize>) {
    let count = luma[0].len();
    let luma = luma.map(|row| &row[..count]);
    for tile in 0..count {
        let three = |limits: &[u8]| match limits[TILE_COLUMNS / 2 * tile..].first_chunk::<18>() {
            Some(limits) => [0, 1, 2].map(|offset| L::load_u8(limits[offset..].first_chunk().expect("sixteen"))),
            None => unreachable!("the limits go on after the last tile"),
        };
        let [before, this, after] = three(most);
        let highest = before.min_u8(this).min_u8(after);
        let [before, this, after] = three(least);
        let lowest = before.max_u8(this).max_u8(after);
        let [darkest, brightest] = extremes::<L, TILE_ROWS>(&luma, tile);
        let (highest, lowest) = (highest.low_u8(highest), lowest.low_u8(lowest));
        if !brightest.sub_u8(highest).or(lowest.sub_u8(darkest)).is_zero() {
            found.push(tile);
        }
    }
}
