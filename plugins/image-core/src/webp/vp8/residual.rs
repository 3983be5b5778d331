//! The coefficients of a block (RFC 6386, section 13). Their numbers are checked, because decoders differ where one does
//! not fit into 16 bits. No picture needs such a number.

use super::bits::Bits;

/// The sum of the coefficients of a block up to which no step of the transform exceeds 16 bits. A block of any picture
/// has less than 10,000.
const MOST: i32 = 19_000;
const BANDS: [usize; 17] = [0, 1, 2, 3, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 0];
const ZIGZAG: [usize; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];
/// The probabilities of the additional bits of large values; the first value of each kind is 3 + (8 << kind).
const LARGE: [&[u8]; 4] = [
    &[173, 148, 140],
    &[176, 155, 140, 135],
    &[180, 157, 141, 134, 130],
    &[254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129],
];

/// The factors of the first and of the other coefficients.
pub(super) type Factors = [i32; 2];

/// A coefficient does not fit.
pub(super) struct TooLarge;

/// Reads a block. Returns the position after its last coefficient, which is 0 if there is none, and passes each
/// coefficient and its position to `take`.
pub(super) fn read(
    place: &mut Bits<'_>,
    probabilities: &[[[u8; 11]; 3]; 8],
    context: usize,
    first: usize,
    take: impl FnMut(usize, i32),
) -> usize {
    let mut bits = *place;
    let end = read_from(&mut bits, probabilities, context, first, take);
    *place = bits;
    end
}

#[inline(always)]
fn read_from(
    bits: &mut Bits<'_>,
    probabilities: &[[[u8; 11]; 3]; 8],
    context: usize,
    first: usize,
    mut take: impl FnMut(usize, i32),
) -> usize {
    let mut p = &probabilities[BANDS[first]][context];
    let mut at = first;
    while at < 16 {
        if !bits.bit(p[0]) {
            return if at == first { 0 } else { at };
        }
        while !bits.bit(p[1]) {
            at += 1;
            if at == 16 {
                return 16;
            }
            p = &probabilities[BANDS[at]][0];
        }
        let value = if bits.bit(p[2]) { large(bits, p) } else { 1 };
        take(at, bits.with_sign(value));
        at += 1;
        p = &probabilities[BANDS[at]][if value == 1 { 1 } else { 2 }];
    }
    16
}

/// Reads a value from 2 on.
#[inline(always)]
fn large(bits: &mut Bits<'_>, p: &[u8; 11]) -> i32 {
    let bit = |bits: &mut Bits<'_>, zero| i32::from(bits.bit(zero));
    if !bits.bit(p[3]) {
        return if bits.bit(p[4]) { 3 + bit(bits, p[5]) } else { 2 };
    }
    if !bits.bit(p[6]) {
        return if bits.bit(p[7]) { 7 + 2 * bit(bits, 165) + bit(bits, 145) } else { 5 + bit(bits, 159) };
    }
    let high = usize::from(bits.bit(p[8]));
    let kind = 2 * high + usize::from(bits.bit(p[9 + high]));
    3 + (8 << kind) + LARGE[kind].iter().fold(0, |value, zero| 2 * value + bit(bits, *zero))
}

/// The coefficients of a block.
pub(super) struct Coefficients {
    pub(super) numbers: [i32; 16],
    /// True if they are more than the first one.
    pub(super) many: bool,
    /// True if the block counts as not empty for the next blocks.
    pub(super) any: bool,
}

/// Reads a block whose first coefficient is `mean` if it was already read.
#[inline(always)]
pub(super) fn block(
    bits: &mut Bits<'_>,
    probabilities: &[[[u8; 11]; 3]; 8],
    context: usize,
    factors: Factors,
    mean: Option<i32>,
) -> Result<Coefficients, TooLarge> {
    let mut numbers = [0; 16];
    numbers[0] = mean.unwrap_or_default();
    let mut sum = numbers[0].abs();
    let first = usize::from(mean.is_some());
    let end = read(bits, probabilities, context, first, |at, value| {
        let number = value * factors[usize::from(at > 0)];
        numbers[ZIGZAG[at]] = number;
        sum += number.abs();
    });
    if sum > MOST { Err(TooLarge) } else { Ok(Coefficients { numbers, many: end > 1, any: end > 0 }) }
}

/// Reads the block of the first coefficients of 16 blocks. Returns them, and true if it has coefficients.
pub(super) fn means(
    bits: &mut Bits<'_>,
    probabilities: &[[[u8; 11]; 3]; 8],
    context: usize,
    factors: Factors,
) -> Result<([i32; 16], bool), TooLarge> {
    let mut block = [0; 16];
    let end =
        read(bits, probabilities, context, 0, |at, value| block[ZIGZAG[at]] = value * factors[usize::from(at > 0)]);
    // The inverse Walsh-Hadamard transform (section 14.3).
    for step in [4, 1] {
        let rounding = if step == 1 { 3 } else { 0 };
        for start in 0..4 {
            let index = |place: usize| start * (5 - step) + place * step;
            let [a, b, c, d] = [0, 1, 2, 3].map(|place| block[index(place)]);
            let (outer, inner) = (a + rounding + d, b + c);
            let (outer_difference, inner_difference) = (a + rounding - d, b - c);
            let results = [
                outer + inner,
                outer_difference + inner_difference,
                outer - inner,
                outer_difference - inner_difference,
            ];
            if [a, b, c, d, outer, inner].iter().chain(&results).any(|value| i16::try_from(*value).is_err()) {
                return Err(TooLarge);
            }
            for (place, result) in results.into_iter().enumerate() {
                block[index(place)] = if step == 1 { result >> 3 } else { result };
            }
        }
    }
    Ok((block, end > 0))
}
