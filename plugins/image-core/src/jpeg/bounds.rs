//! Finds the tiles of an image whose colours may be outside of RGB, from the smallest and the largest samples of each
//! column of a tile. Few tiles of a photograph are found, and this test takes less time than their conversion. Most of these
//! are outside in one channel, such as the blue of a sky, so the channels are found too.

use super::ycbcr::joined;
use crate::lanes::Lanes;
use crate::resample::{TILE_COLUMNS, TILE_ROWS};

/// Sixteen samples of each of `N` rows.
type Rows<'r, const N: usize> = [&'r [[u8; 16]]; N];

/// By how much a channel of a found tile must be inside of its limits to be left out. The limits of red and blue are off by
/// one, because products are rounded. Those of green are off by up to two, because they follow from two samples, and the
/// samples of the pixels are rounded too.
const MARGIN: i16 = 2;

/// A tile with colours that may be outside of RGB.
#[derive(Clone, Copy)]
pub(super) struct Found {
    tile: u32,
    /// One bit for each channel: red, green and blue.
    channels: u32,
}

impl Found {
    #[inline(always)]
    pub(super) fn tile(self) -> usize {
        self.tile as usize
    }

    /// True if this channel may be outside.
    #[inline(always)]
    pub(super) fn has(self, channel: u32) -> bool {
        self.channels >> channel & 1 == 1
    }
}

/// The limits that the chroma samples set for luma.
pub(super) struct Bounds {
    /// Those of all channels together, then those of each with the margin.
    limits: [Limits; 4],
}

/// The limits of luma for each column of chroma. There is one more entry at the start and some at the end.
struct Limits {
    /// The largest luma for which no colour exceeds 255.
    most: Vec<u8>,
    /// The smallest luma for which no colour is below 0.
    least: Vec<u8>,
}

impl Bounds {
    /// For rows of `stride` chroma samples, which is a multiple of [`TILE_COLUMNS`].
    pub(super) fn new(stride: usize) -> Bounds {
        let limits = |_| Limits { most: vec![255; stride + 33], least: vec![0; stride + 33] };
        Bounds { limits: std::array::from_fn(limits) }
    }

    /// Finds the tiles, from left to right, whose colours may be outside of RGB by more than one. `luma` has the rows of the
    /// tiles, `blue` and `red` have all rows of chroma that contribute to them.
    pub(super) fn find<L: Lanes, const N: usize>(
        &mut self,
        luma: [&[u8]; TILE_ROWS],
        [blue, red]: [[&[u8]; N]; 2],
        found: &mut Vec<Found>,
    ) {
        limit_luma::<L, N>(blue.map(chunks), red.map(chunks), &mut self.limits);
        compare::<L>(luma.map(chunks), &self.limits, found);
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
fn limit_luma<L: Lanes, const N: usize>(blue: Rows<N>, red: Rows<N>, limits: &mut [Limits; 4]) {
    let count = blue[0].len();
    let (blue, red) = (blue.map(|row| &row[..count]), red.map(|row| &row[..count]));
    let mut limits = limits.each_mut().map(|limits| {
        [&mut limits.most, &mut limits.least].map(|limits| &mut limits[1..].as_chunks_mut::<16>().0[..count])
    });
    let zero = L::splat_i16(0);
    for at in 0..count {
        let (blue, red) = (extremes::<L, N>(&blue, at), extremes::<L, N>(&red, at));
        let low = limits_of(blue.map(|samples| samples.low_u8(zero)), red.map(|samples| samples.low_u8(zero)));
        let high = limits_of(blue.map(|samples| samples.high_u8(zero)), red.map(|samples| samples.high_u8(zero)));
        for (limits, (low, high)) in limits.iter_mut().zip(low.into_iter().zip(high)) {
            limits[0][at] = joined(low[0].narrow_samples(high[0]).halves());
            limits[1][at] = joined(low[1].narrow_samples(high[1]).halves());
        }
    }
}

/// The largest and the smallest luma for eight columns, less 128: for all channels and for each. The factors are those of
/// the conversion to colours, with 7 or 8 fraction bits, so the limits may be off by one.
#[inline(always)]
fn limits_of<L: Lanes>(blue: [L; 2], red: [L; 2]) -> [[L; 2]; 4] {
    let middle = L::splat_i16(128);
    let [blue, red] = [blue, red].map(|extremes| extremes.map(|samples| samples.sub_i16(middle)));
    let times = |samples: L, factor: i16| samples.mul_i16(L::splat_i16(factor));
    let to_red = |red: L| red.add_i16(times(red, 103).shift_right_i16::<8>());
    let to_blue = |blue: L| blue.add_i16(blue).sub_i16(times(blue, 58).shift_right_i16::<8>());
    let from_green = |blue: L, red: L| times(blue, 44).add_i16(times(red, 91)).shift_right_i16::<7>();
    let zero = L::splat_i16(0);
    let above = [to_red(red[1]), zero.sub_i16(from_green(blue[0], red[0])), to_blue(blue[1])];
    let below = [to_red(red[0]), zero.sub_i16(from_green(blue[1], red[1])), to_blue(blue[0])];
    let limits = |above: L, below: L, margin: i16| {
        [L::splat_i16(127 - margin).sub_i16(above), L::splat_i16(-128 + margin).sub_i16(below)]
    };
    let most = above[0].max_i16(above[1]).max_i16(above[2]);
    let least = below[0].min_i16(below[1]).min_i16(below[2]);
    [
        limits(most, least, 0),
        limits(above[0], below[0], MARGIN),
        limits(above[1], below[1], MARGIN),
        limits(above[2], below[2], MARGIN),
    ]
}

/// Finds the tiles with luma outside of its limits.
#[inline(never)]
fn compare<L: Lanes>(luma: Rows<TILE_ROWS>, [all, red, green, blue]: &[Limits; 4], found: &mut Vec<Found>) {
    let count = luma[0].len();
    let luma = luma.map(|row| &row[..count]);
    for tile in 0..count {
        let extremes = extremes::<L, TILE_ROWS>(&luma, tile);
        if all.has(tile, extremes) {
            continue;
        }
        let channel = |limits: &Limits, place: u32| u32::from(!limits.has(tile, extremes)) << place;
        found.push(Found { tile: tile as u32, channels: channel(red, 0) | channel(green, 1) | channel(blue, 2) });
    }
}

impl Limits {
    /// True if the darkest and the brightest samples of a tile's columns are inside. A limit is for two columns, and the
    /// limits next to it are for these columns too.
    #[inline(always)]
    fn has<L: Lanes>(&self, tile: usize, [darkest, brightest]: [L; 2]) -> bool {
        let three = |limits: &[u8]| match limits[TILE_COLUMNS / 2 * tile..].first_chunk::<18>() {
            Some(limits) => [0, 1, 2].map(|offset| L::load_u8(limits[offset..].first_chunk().expect("sixteen"))),
            None => unreachable!("the limits go on after the last tile"),
        };
        let [before, this, after] = three(&self.most);
        let highest = before.min_u8(this).min_u8(after);
        let [before, this, after] = three(&self.least);
        let lowest = before.max_u8(this).max_u8(after);
        let (highest, lowest) = (highest.low_u8(highest), lowest.low_u8(lowest));
        brightest.sub_u8(highest).or(lowest.sub_u8(darkest)).is_zero()
    }
}
