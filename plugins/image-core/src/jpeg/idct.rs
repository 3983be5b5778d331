//! Converts a block of coefficients to samples: the inverse transform of Loeffler, Ligtenberg and Moschytz in 32-bit
//! integers, bit-identical to libjpeg's "islow"; and its reductions for decoding at 1/8.

use crate::lanes::Lanes;

/// The fraction bits of the factors.
pub(super) const CONST_BITS: u32 = 13;
/// The fraction bits of the values between the two passes.
pub(super) const PASS1_BITS: u32 = 2;
/// The bits that each pass shifts out.
pub(super) const FIRST_SHIFT: u32 = CONST_BITS - PASS1_BITS;
pub(super) const SECOND_SHIFT: u32 = CONST_BITS + PASS1_BITS + 3;

const fn fixed(value: f64) -> i16 {
    let scaled = value * (1 << CONST_BITS) as f64;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i16
}

/// Two factors for [`Lanes::dot`].
#[inline(always)]
fn factors<L: Lanes>(first: i16, second: i16) -> L {
    L::splat_i32(i32::from(first as u16) | i32::from(second) << 16)
}

/// Eight 32-bit lanes in two vectors: the low half and the high half.
#[derive(Clone, Copy)]
pub(super) struct Wide<L>(pub(super) L, pub(super) L);

impl<L: Lanes> Wide<L> {
    /// The sum of both vectors, each multiplied by its factor.
    #[inline(always)]
    fn dot(first: L, second: L, by: L) -> Self {
        Wide(first.low_i16(second).dot(by), first.high_i16(second).dot(by))
    }

    #[inline(always)]
    pub(super) fn add(self, other: Self) -> Self {
        Wide(self.0.add_i32(other.0), self.1.add_i32(other.1))
    }

    #[inline(always)]
    pub(super) fn sub(self, other: Self) -> Self {
        Wide(self.0.sub_i32(other.0), self.1.sub_i32(other.1))
    }

    /// Widens lanes of 16 bits to 32 bits with [`CONST_BITS`] fraction bits, and adds the rounding of the final shift.
    #[inline(always)]
    pub(super) fn from_i16(lanes: L, rounding: L) -> Self {
        let zero = L::splat_i16(0);
        let wide = |half: L| half.shift_right_i32::<{ 16 - CONST_BITS }>().add_i32(rounding);
        Wide(wide(zero.low_i16(lanes)), wide(zero.high_i16(lanes)))
    }

    #[inline(always)]
    pub(super) fn narrow<const SHIFT: u32>(self) -> L {
        self.0.shift_right_i32::<SHIFT>().narrow_i32(self.1.shift_right_i32::<SHIFT>())
    }
}

const F0_299: i16 = fixed(0.298_631_336);
pub(super) const F0_390: i16 = fixed(0.390_180_644);
const F0_541: i16 = fixed(0.541_196_100);
const F0_765: i16 = fixed(0.765_366_865);
pub(super) const F0_900: i16 = fixed(0.899_976_223);
pub(super) const F1_176: i16 = fixed(1.175_875_602);
pub(super) const F1_501: i16 = fixed(1.501_321_110);
const F1_848: i16 = fixed(1.847_759_065);
const F1_962: i16 = fixed(1.961_570_560);
const F2_053: i16 = fixed(2.053_119_869);
const F2_563: i16 = fixed(2.562_915_447);
const F3_073: i16 = fixed(3.072_711_026);

/// One pass over eight vectors. With `LOW`, only the first four are not 0.
#[inline(always)]
fn pass<L: Lanes, const SHIFT: u32, const LOW: bool>(x: [L; 8]) -> [L; 8] {
    wide_pass::<L, SHIFT, LOW>(x).map(Wide::narrow::<SHIFT>)
}

/// [`pass`] before the result is shifted and converted to 16 bits.
#[inline(always)]
fn wide_pass<L: Lanes, const SHIFT: u32, const LOW: bool>(x: [L; 8]) -> [Wide<L>; 8] {
    // Sums of factors are sums of rounded factors, as in libjpeg.
    let zero = L::splat_i16(0);
    let rounding = L::splat_i32(1 << (SHIFT - 1));
    let high = |lanes: L| if LOW { zero } else { lanes };

    let t3 = Wide::dot(x[2], high(x[6]), factors(F0_541 + F0_765, F0_541));
    let t2 = Wide::dot(x[2], high(x[6]), factors(F0_541, F0_541 - F1_848));
    let t0 = Wide::from_i16(if LOW { x[0] } else { x[0].add_i16(x[4]) }, rounding);
    let t1 = if LOW { t0 } else { Wide::from_i16(x[0].sub_i16(x[4]), rounding) };
    let even = [t0.add(t3), t1.add(t2), t1.sub(t2), t0.sub(t3)];

    let (x5, x7) = (high(x[5]), high(x[7]));
    let (z3, z4) = if LOW { (x[3], x[1]) } else { (x7.add_i16(x[3]), x5.add_i16(x[1])) };
    let z3_out = Wide::dot(z3, z4, factors(F1_176 - F1_962, F1_176));
    let z4_out = Wide::dot(z3, z4, factors(F1_176, F1_176 - F0_390));
    let odd = [
        Wide::dot(x7, x[1], factors(-F0_900, F1_501 - F0_900)).add(z4_out),
        Wide::dot(x5, x[3], factors(-F2_563, F3_073 - F2_563)).add(z3_out),
        Wide::dot(x5, x[3], factors(F2_053 - F2_563, -F2_563)).add(z4_out),
        Wide::dot(x7, x[1], factors(F0_299 - F0_900, -F0_900)).add(z3_out),
    ];
    let sum = |index: usize| even[index].add(odd[index]);
    let difference = |index: usize| even[index].sub(odd[index]);
    [sum(0), sum(1), sum(2), sum(3), difference(3), difference(2), difference(1), difference(0)]
}

#[inline(always)]
fn transpose<L: Lanes>(x: [L; 8]) -> [L; 8] {
    let a = [x[0].low_i16(x[1]), x[0].high_i16(x[1]), x[2].low_i16(x[3]), x[2].high_i16(x[3])];
    let b = [x[4].low_i16(x[5]), x[4].high_i16(x[5]), x[6].low_i16(x[7]), x[6].high_i16(x[7])];
    let c = [a[0].low_i32(a[2]), a[0].high_i32(a[2]), a[1].low_i32(a[3]), a[1].high_i32(a[3])];
    let d = [b[0].low_i32(b[2]), b[0].high_i32(b[2]), b[1].low_i32(b[3]), b[1].high_i32(b[3])];
    [
        c[0].low_i64(d[0]),
        c[0].high_i64(d[0]),
        c[1].low_i64(d[1]),
        c[1].high_i64(d[1]),
        c[2].low_i64(d[2]),
        c[2].high_i64(d[2]),
        c[3].low_i64(d[3]),
        c[3].high_i64(d[3]),
    ]
}

/// Transposes the samples of a block: each vector has those of two columns, and then those of two rows.
#[inline(always)]
fn transpose_samples<L: Lanes>(x: [L; 4]) -> [L; 4] {
    let a = [x[0].low_u8(x[2]), x[0].high_u8(x[2]), x[1].low_u8(x[3]), x[1].high_u8(x[3])];
    let b = [a[0].low_u8(a[2]), a[0].high_u8(a[2]), a[1].low_u8(a[3]), a[1].high_u8(a[3])];
    [b[0].low_u8(b[2]), b[0].high_u8(b[2]), b[1].low_u8(b[3]), b[1].high_u8(b[3])]
}

/// Eight samples of a strip: a row of a block. One check of the bounds is enough for it.
pub(super) type Eight = [u8; 8];

/// Stores the rows of a block to the start of a strip, whose rows have `stride` elements.
#[inline(always)]
pub(super) fn store_eight([a, b, c, d, e, f, g, h]: [Eight; 8], strip: &mut [Eight], stride: usize) {
    // Unrolled by hand: for WebAssembly, each iteration of a loop checks the deadline.
    strip[0] = a;
    strip[stride] = b;
    strip[2 * stride] = c;
    strip[3 * stride] = d;
    strip[4 * stride] = e;
    strip[5 * stride] = f;
    strip[6 * stride] = g;
    strip[7 * stride] = h;
}

/// Converts a block to samples, see [`store_eight`]. Coefficients and quantisers are stored row by row. With `LOW`, only the first ten
/// coefficients in zigzag order may be non-zero; these are all in the first four columns and rows.
///
/// The first pass computes columns, the second rows, as in libjpeg: the other order rounds differently.
#[inline(never)]
pub(super) fn block<L: Lanes, const LOW: bool>(
    coefficients: &[[i16; 8]; 8],
    quantiser: &[i16; 64],
    strip: &mut [Eight],
    stride: usize,
) {
    let quantiser = quantiser.as_chunks::<8>().0;
    if is_flat::<LOW>(coefficients) {
        return flat_block::<L, LOW>(&coefficients[0], &quantiser[0], strip, stride);
    }
    let mut x = [L::splat_i16(0); 8];
    for index in 0..if LOW { 4 } else { 8 } {
        x[index] = L::load_i16(&coefficients[index]).mul_i16(L::load_i16(&quantiser[index]));
    }
    if LOW {
        let rows = wide_pass::<L, FIRST_SHIFT, true>(x).map(|row| row.0.shift_right_i32::<FIRST_SHIFT>());
        return rows_pass::<L, true>(transpose_halves(rows), strip, stride);
    }
    rows_pass::<L, false>(transpose(pass::<L, FIRST_SHIFT, false>(x)), strip, stride);
}

/// Converts the first four lanes of eight rows to 16 bits, and transposes them: gives four vectors that are not 0. The high
/// halves of the rows are not used, so the compiler omits their computation.
#[inline(always)]
fn transpose_halves<L: Lanes>(x: [L; 8]) -> [L; 8] {
    let two = |row: usize| x[row].narrow_i32(x[row + 1]);
    // Two columns of four rows each.
    let four = |row: usize| {
        let (even, odd) = (two(row).low_i16(two(row + 2)), two(row).high_i16(two(row + 2)));
        [even.low_i16(odd), even.high_i16(odd)]
    };
    let (above, below) = (four(0), four(4));
    let zero = L::splat_i16(0);
    [
        above[0].low_i64(below[0]),
        above[0].high_i64(below[0]),
        above[1].low_i64(below[1]),
        above[1].high_i64(below[1]),
        zero,
        zero,
        zero,
        zero,
    ]
}

/// Writes a block of a draft to a strip.
#[inline(always)]
pub(super) fn store<const SIZE: usize>(block: [[u8; SIZE]; SIZE], mut strip: &mut [u8], stride: usize) {
    for (row, samples) in block.iter().enumerate() {
        if row > 0 {
            strip = &mut strip[stride..];
        }
        strip[..SIZE].copy_from_slice(samples);
    }
}

/// The second pass, from the transposed result of the first.
#[inline(always)]
fn rows_pass<L: Lanes, const LOW: bool>(x: [L; 8], strip: &mut [Eight], stride: usize) {
    store_columns(pass::<L, SECOND_SHIFT, LOW>(x), strip, stride);
}

/// Stores the samples of a block, of which each vector has a column.
#[inline(always)]
pub(super) fn store_columns<L: Lanes>(x: [L; 8], strip: &mut [Eight], stride: usize) {
    let columns = [0, 2, 4, 6].map(|column| x[column].narrow_narrowed(x[column + 1]));
    let [[a, b], [c, d], [e, f], [g, h]] = transpose_samples(columns).map(L::halves);
    store_eight([a, b, c, d, e, f, g, h], strip, stride);
}

/// True if all coefficients are in the first row.
#[inline(always)]
fn is_flat<const LOW: bool>(coefficients: &[[i16; 8]; 8]) -> bool {
    // Integers instead of arrays, and a separate function for the other rows: otherwise the compiler joins all
    // comparisons, although the first one almost always decides.
    if LOW {
        (number(&coefficients[1], 0) | number(&coefficients[2], 0) | number(&coefficients[3], 0)) == 0
    } else {
        (number(&coefficients[1], 0) | number(&coefficients[1], 4)) == 0 && are_zero(&coefficients[2..])
    }
}

/// Four coefficients of a row as one number. It is 0 if all of them are.
#[inline(always)]
fn number(row: &[i16; 8], first: usize) -> u64 {
    (0..4).fold(0, |number, index| number | u64::from(row[first + index] as u16) << (16 * index))
}

#[cold]
#[inline(never)]
fn are_zero(rows: &[[i16; 8]]) -> bool {
    rows.iter().all(|row| *row == [0; 8])
}

/// The samples of a block whose coefficients are all in its first row. In broken data the first pass may overflow, as
/// in libjpeg-turbo.
#[inline(never)]
fn flat_block<L: Lanes, const LOW: bool>(row: &[i16; 8], quantiser: &[i16; 8], strip: &mut [Eight], stride: usize) {
    let x = L::load_i16(row).mul_i16(L::load_i16(quantiser));
    let twice = x.add_i16(x);
    rows_pass::<L, LOW>(transpose([twice.add_i16(twice); 8]), strip, stride);
}

/// The sample value of a block that only has a DC coefficient. In broken data it may overflow, as in libjpeg-turbo.
#[inline(always)]
pub(super) fn dc_sample(coefficient: i16, quantiser: i16) -> u8 {
    let scaled = coefficient.wrapping_mul(quantiser).wrapping_mul(1 << PASS1_BITS);
    ((i32::from(scaled) + (1028 << PASS1_BITS)) >> (PASS1_BITS + 3)).clamp(0, 255) as u8
}

/// The means of the four quarters of a block, row by row; `LOW` as for [`block`].
#[inline(always)]
pub(super) fn quarters<const LOW: bool>(coefficients: &[[i16; 8]; 8], quantiser: &[i16; 64]) -> [[u8; 2]; 2] {
    // The mean of each basis cosine over half of the block. It is 0 for even frequencies except frequency 0.
    const ODD_FACTORS: [(usize, f64); 4] =
        [(1, 0.906_127_446), (3, -0.318_189_645), (5, 0.212_607_524), (7, -0.180_239_955)];
    const SHIFT: u32 = 12;
    let odd_factors = || ODD_FACTORS.iter().take(if LOW { 2 } else { 4 });
    let at = |column: usize, row: usize| i32::from(coefficients[row][column].wrapping_mul(quantiser[8 * row + column]));
    #[inline(always)]
    fn halves(value: impl Fn(usize) -> i32, odd_factors: impl Iterator<Item = &'static (usize, f64)>) -> [i32; 2] {
        let even = value(0) << SHIFT;
        let odd: i32 = odd_factors.map(|&(index, factor)| value(index) * ((factor * 4096.0).round() as i32)).sum();
        [even + odd, even - odd].map(|half| (half + (1 << (SHIFT - 1))) >> SHIFT)
    }
    let mut columns = [[0; 2]; 8];
    columns[0] = halves(|row| at(0, row), odd_factors());
    for &(column, _) in odd_factors() {
        columns[column] = halves(|row| at(column, row), odd_factors());
    }
    [0, 1].map(|row| {
        halves(|column| columns[column][row], odd_factors()).map(|sum| ((sum + 1028) >> 3).clamp(0, 255) as u8)
    })
}
