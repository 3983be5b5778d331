//! [`Lanes`] on arrays: for machines without a vector implementation, and the reference for the other implementations.

use std::array::from_fn;

use super::Lanes;

/// Sixteen bytes, little-endian.
#[derive(Clone, Copy)]
pub(crate) struct Scalar([u8; 16]);

impl Scalar {
    fn from_i16(lanes: [i16; 8]) -> Self {
        let mut bytes = [0; 16];
        for (bytes, lane) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(lanes) {
            *bytes = lane.to_le_bytes();
        }
        Self(bytes)
    }

    fn from_i32(lanes: [i32; 4]) -> Self {
        let mut bytes = [0; 16];
        for (bytes, lane) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(lanes) {
            *bytes = lane.to_le_bytes();
        }
        Self(bytes)
    }

    fn i16(self) -> [i16; 8] {
        from_fn(|lane| i16::from_le_bytes([self.0[2 * lane], self.0[2 * lane + 1]]))
    }

    fn i32(self) -> [i32; 4] {
        from_fn(|lane| i32::from_le_bytes(from_fn(|byte| self.0[4 * lane + byte])))
    }

    fn zip_i16(self, other: Self, operation: impl Fn(i16, i16) -> i16) -> Self {
        let (left, right) = (self.i16(), other.i16());
        Self::from_i16(from_fn(|lane| operation(left[lane], right[lane])))
    }

    fn zip_i32(self, other: Self, operation: impl Fn(i32, i32) -> i32) -> Self {
        let (left, right) = (self.i32(), other.i32());
        Self::from_i32(from_fn(|lane| operation(left[lane], right[lane])))
    }

    /// Interleaves groups of `SIZE` bytes, alternating between `self` and `other`, from byte `from` of each.
    fn interleave<const SIZE: usize>(self, other: Self, from: usize) -> Self {
        Self(from_fn(|byte| {
            let group = byte / SIZE;
            let source = if group.is_multiple_of(2) { &self.0 } else { &other.0 };
            source[from + group / 2 * SIZE + byte % SIZE]
        }))
    }
}

impl Lanes for Scalar {
    fn load_u8(from: &[u8; 16]) -> Self {
        Self(*from)
    }
    fn load_i16(from: &[i16; 8]) -> Self {
        Self::from_i16(*from)
    }
    fn load_i32(from: &[i32; 4]) -> Self {
        Self::from_i32(*from)
    }
    fn store_i16(self, to: &mut [i16; 8]) {
        *to = self.i16();
    }
    fn store_i32(self, to: &mut [i32; 4]) {
        *to = self.i32();
    }
    fn store_reversed(self, to: &mut [u8; 16]) {
        *to = from_fn(|byte| self.0[15 - byte]);
    }
    fn min_u8(self, other: Self) -> Self {
        Self(from_fn(|byte| self.0[byte].min(other.0[byte])))
    }
    fn max_u8(self, other: Self) -> Self {
        Self(from_fn(|byte| self.0[byte].max(other.0[byte])))
    }
    fn sub_u8(self, other: Self) -> Self {
        Self(from_fn(|byte| self.0[byte].saturating_sub(other.0[byte])))
    }
    fn store_u8(self, to: &mut [u8; 16]) {
        *to = self.0;
    }
    fn add_u8(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane].saturating_add(other.0[lane])))
    }
    fn add_i8(self, other: Self) -> Self {
        Self(from_fn(|lane| (self.0[lane] as i8).saturating_add(other.0[lane] as i8) as u8))
    }
    fn sub_i8(self, other: Self) -> Self {
        Self(from_fn(|lane| (self.0[lane] as i8).saturating_sub(other.0[lane] as i8) as u8))
    }
    fn equal_u8(self, other: Self) -> Self {
        Self(from_fn(|lane| if self.0[lane] == other.0[lane] { 0xFF } else { 0 }))
    }
    fn and(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] & other.0[lane]))
    }
    fn xor(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] ^ other.0[lane]))
    }
    fn shift_right_u16<const BITS: u32>(self) -> Self {
        Self::from_i16(self.i16().map(|lane| (lane as u16 >> BITS) as i16))
    }
    fn or(self, other: Self) -> Self {
        Self(from_fn(|byte| self.0[byte] | other.0[byte]))
    }
    fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
    fn splat_i16(value: i16) -> Self {
        Self::from_i16([value; 8])
    }
    fn splat_i32(value: i32) -> Self {
        Self::from_i32([value; 4])
    }

    fn add_i16(self, other: Self) -> Self {
        self.zip_i16(other, i16::wrapping_add)
    }
    fn sub_i16(self, other: Self) -> Self {
        self.zip_i16(other, i16::wrapping_sub)
    }
    fn mul_i16(self, other: Self) -> Self {
        self.zip_i16(other, i16::wrapping_mul)
    }
    fn min_i16(self, other: Self) -> Self {
        self.zip_i16(other, i16::min)
    }
    fn max_i16(self, other: Self) -> Self {
        self.zip_i16(other, i16::max)
    }
    fn shift_right_i16<const BITS: u32>(self) -> Self {
        Self::from_i16(self.i16().map(|lane| lane >> BITS))
    }
    fn add_i32(self, other: Self) -> Self {
        self.zip_i32(other, i32::wrapping_add)
    }
    fn sub_i32(self, other: Self) -> Self {
        self.zip_i32(other, i32::wrapping_sub)
    }
    fn dot(self, other: Self) -> Self {
        let (left, right) = (self.i16(), other.i16());
        let product = |lane: usize| i32::from(left[lane]) * i32::from(right[lane]);
        Self::from_i32(from_fn(|lane| product(2 * lane).wrapping_add(product(2 * lane + 1))))
    }
    fn shift_right_i32<const BITS: u32>(self) -> Self {
        Self::from_i32(self.i32().map(|lane| lane >> BITS))
    }

    fn narrow_i32(self, high: Self) -> Self {
        let (low, high) = (self.i32(), high.i32());
        let lane = |lane: usize| if lane < 4 { low[lane] } else { high[lane - 4] };
        Self::from_i16(from_fn(|index| lane(index).clamp(i16::MIN.into(), i16::MAX.into()) as i16))
    }
    fn narrow_samples(self, high: Self) -> Self {
        let (low, high) = (self.i16(), high.i16());
        let lane = |lane: usize| if lane < 8 { low[lane] } else { high[lane - 8] };
        Self(from_fn(|index| (lane(index).clamp(-128, 127) + 128) as u8))
    }
    fn halves(self) -> [[u8; 8]; 2] {
        [from_fn(|byte| self.0[byte]), from_fn(|byte| self.0[8 + byte])]
    }

    fn low_u8(self, other: Self) -> Self {
        self.interleave::<1>(other, 0)
    }
    fn high_u8(self, other: Self) -> Self {
        self.interleave::<1>(other, 8)
    }
    fn low_i16(self, other: Self) -> Self {
        self.interleave::<2>(other, 0)
    }
    fn high_i16(self, other: Self) -> Self {
        self.interleave::<2>(other, 8)
    }
    fn low_i32(self, other: Self) -> Self {
        self.interleave::<4>(other, 0)
    }
    fn high_i32(self, other: Self) -> Self {
        self.interleave::<4>(other, 8)
    }
    fn low_i64(self, other: Self) -> Self {
        self.interleave::<8>(other, 0)
    }
    fn high_i64(self, other: Self) -> Self {
        self.interleave::<8>(other, 8)
    }

    fn ff_mask(self) -> u32 {
        (0..16).map(|byte| u32::from(self.0[byte] == 0xFF) << byte).sum()
    }
    fn scaled(self, factor: f32) -> [f32; 4] {
        self.i32().map(|lane| lane as f32 * factor)
    }
}
