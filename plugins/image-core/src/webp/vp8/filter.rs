//! The loop filters of sixteen pixels along an edge (RFC 6386, section 15). Bytes are compared and filtered as in the
//! SIMD code of common decoders: all values fit into saturating bytes.

use crate::lanes::Lanes;

/// How strongly a macroblock is filtered.
#[derive(Clone, Copy, Default)]
pub(super) struct Strength {
    /// The limit of differences across inner edges; 0 means that the macroblock is not filtered.
    pub(super) limit: u8,
    /// The limit of differences beside an edge.
    pub(super) interior: u8,
    /// The difference above which there is a real edge in the picture.
    pub(super) real: u8,
    /// True if inner edges are filtered even if the macroblock has no coefficients.
    pub(super) inner: bool,
}

impl Strength {
    /// For the level of a macroblock (section 15.2 and 15.3).
    pub(super) fn new(level: i32, sharpness: i32, inner: bool) -> Self {
        let level = level.clamp(0, 63);
        if level == 0 {
            return Strength::default();
        }
        let interior = match sharpness {
            0 => level,
            5.. => (level >> 2).min(9 - sharpness),
            _ => (level >> 1).min(9 - sharpness),
        };
        let interior = interior.max(1);
        let real = u8::from(level >= 15) + u8::from(level >= 40);
        Strength { limit: (2 * level + interior) as u8, interior: interior as u8, real, inner }
    }
}

/// The four pixels before an edge and the four after it; a lane is a line across the edge.
pub(super) type Across<L> = [L; 8];

/// Which edge is filtered, and with which filter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// Of a macroblock.
    Outer,
    /// Within a macroblock.
    Inner,
    /// Any edge, if the image has the simple filter.
    Simple,
}

#[inline(always)]
fn difference<L: Lanes>(a: L, b: L) -> L {
    a.sub_u8(b).or(b.sub_u8(a))
}

/// 0xFF where a byte is at most this.
#[inline(always)]
fn is_at_most<L: Lanes>(bytes: L, most: u8) -> L {
    bytes.sub_u8(L::splat_u8(most)).equal_u8(L::splat_u8(0))
}

/// Divides signed bytes by 8, rounded down.
#[inline(always)]
fn eighth<L: Lanes>(bytes: L) -> L {
    let shifted = bytes.xor(L::splat_u8(0x80)).shift_right_u16::<3>().and(L::splat_u8(0x1F));
    shifted.sub_i8(L::splat_u8(16))
}

/// Filters an edge. Returns false if nothing was changed.
#[inline(always)]
pub(super) fn filter<L: Lanes>(pixels: &mut Across<L>, edge: Edge, limit: u8, strength: Strength) -> bool {
    let [p3, p2, p1, p0, q0, q1, q2, q3] = *pixels;
    // Twice the difference across the edge, and half of that of the next pixels.
    let (near, far) = (difference(p0, q0), difference(p1, q1));
    let far = far.and(L::splat_u8(0xFE)).shift_right_u16::<1>();
    let mut filtered = is_at_most(near.add_u8(near).add_u8(far), limit);
    let mut flat = L::splat_u8(0);
    if edge != Edge::Simple {
        let beside = difference(p1, p0).max_u8(difference(q1, q0));
        let most = difference(p3, p2).max_u8(difference(p2, p1)).max_u8(difference(q3, q2)).max_u8(difference(q2, q1));
        filtered = filtered.and(is_at_most(most.max_u8(beside), strength.interior));
        flat = is_at_most(beside, strength.real);
    }
    if filtered.is_zero() {
        return false;
    }
    let sharp = flat.xor(L::splat_u8(0xFF));

    let sign = L::splat_u8(0x80);
    let (mut p2, mut p1, mut p0) = (p2.xor(sign), p1.xor(sign), p0.xor(sign));
    let (mut q0, mut q1, mut q2) = (q0.xor(sign), q1.xor(sign), q2.xor(sign));
    let (step, outer) = (q0.sub_i8(p0), p1.sub_i8(q1));
    let with_step = |from: L| from.add_i8(step).add_i8(step).add_i8(step).and(filtered);
    if edge == Edge::Outer {
        let change = with_step(outer);
        let narrow = change.and(sharp);
        q0 = q0.sub_i8(eighth(narrow.add_i8(L::splat_u8(4))));
        p0 = p0.add_i8(eighth(narrow.add_i8(L::splat_u8(3))));
        // 27, 18 and 9 of 128.
        let wide = change.and(flat);
        let zero = L::splat_u8(0);
        let nine = |half: L| half.shift_right_i16::<8>().mul_i16(L::splat_i16(9));
        let (low, high) = (nine(zero.low_u8(wide)), nine(zero.high_u8(wide)));
        let half = L::splat_i16(63);
        // Bytes with their sign, which `narrow_samples` inverts.
        let change = |low: L, high: L| low.shift_right_i16::<7>().narrow_samples(high.shift_right_i16::<7>()).xor(sign);
        let (once_low, once_high) = (half.add_i16(low), half.add_i16(high));
        let (twice_low, twice_high) = (once_low.add_i16(low), once_high.add_i16(high));
        let once = change(once_low, once_high);
        (p2, q2) = (p2.add_i8(once), q2.sub_i8(once));
        let twice = change(twice_low, twice_high);
        (p1, q1) = (p1.add_i8(twice), q1.sub_i8(twice));
        let thrice = change(twice_low.add_i16(low), twice_high.add_i16(high));
        (p0, q0) = (p0.add_i8(thrice), q0.sub_i8(thrice));
    } else {
        // The simple filter always uses the outer pixels.
        let change = with_step(outer.and(sharp));
        let half = eighth(change.add_i8(L::splat_u8(4)));
        q0 = q0.sub_i8(half);
        p0 = p0.add_i8(eighth(change.add_i8(L::splat_u8(3))));
        if edge == Edge::Inner {
            // Half of the change, rounded up, where there is no real edge.
            let shifted = half.add_i8(L::splat_u8(17)).shift_right_u16::<1>().and(L::splat_u8(0x1F));
            let change = shifted.sub_i8(L::splat_u8(8)).and(flat);
            (p1, q1) = (p1.add_i8(change), q1.sub_i8(change));
        }
    }
    *pixels = [p3, p2.xor(sign), p1.xor(sign), p0.xor(sign), q0.xor(sign), q1.xor(sign), q2.xor(sign), q3];
    true
}
