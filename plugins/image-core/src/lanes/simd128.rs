//! [`Lanes`] on the 128-bit vectors of WebAssembly.

use core::arch::wasm32::*;

use super::Lanes;

/// A vector of 128 bits.
#[derive(Clone, Copy)]
pub(crate) struct Simd128(v128);

impl Lanes for Simd128 {
    #[inline(always)]
    fn load_u8(from: &[u8; 16]) -> Self {
        // SAFETY: the reference covers exactly the bytes that are accessed.
        Self(unsafe { v128_load(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn load_i16(from: &[i16; 8]) -> Self {
        // SAFETY: the reference covers exactly the bytes that are accessed.
        Self(unsafe { v128_load(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn load_i32(from: &[i32; 4]) -> Self {
        // SAFETY: the reference covers exactly the bytes that are accessed.
        Self(unsafe { v128_load(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store_i16(self, to: &mut [i16; 8]) {
        // SAFETY: the reference covers exactly the bytes that are accessed.
        unsafe { v128_store(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn store_i32(self, to: &mut [i32; 4]) {
        // SAFETY: the reference covers exactly the bytes that are accessed.
        unsafe { v128_store(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn store_reversed(self, to: &mut [u8; 16]) {
        let reversed = i8x16_shuffle::<15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0>(self.0, self.0);
        // SAFETY: the reference covers exactly the bytes that are accessed.
        unsafe { v128_store(to.as_mut_ptr().cast(), reversed) }
    }
    #[inline(always)]
    fn min_u8(self, other: Self) -> Self {
        Self(u8x16_min(self.0, other.0))
    }
    #[inline(always)]
    fn max_u8(self, other: Self) -> Self {
        Self(u8x16_max(self.0, other.0))
    }
    #[inline(always)]
    fn sub_u8(self, other: Self) -> Self {
        Self(u8x16_sub_sat(self.0, other.0))
    }
    #[inline(always)]
    fn store_u8(self, to: &mut [u8; 16]) {
        // SAFETY: the reference covers exactly the bytes that are accessed.
        unsafe { v128_store(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn add_u8(self, other: Self) -> Self {
        Self(u8x16_add_sat(self.0, other.0))
    }
    #[inline(always)]
    fn add_i8(self, other: Self) -> Self {
        Self(i8x16_add_sat(self.0, other.0))
    }
    #[inline(always)]
    fn sub_i8(self, other: Self) -> Self {
        Self(i8x16_sub_sat(self.0, other.0))
    }
    #[inline(always)]
    fn equal_u8(self, other: Self) -> Self {
        Self(i8x16_eq(self.0, other.0))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(v128_and(self.0, other.0))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(v128_xor(self.0, other.0))
    }
    #[inline(always)]
    fn shift_right_u16<const BITS: u32>(self) -> Self {
        Self(u16x8_shr(self.0, BITS))
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(v128_or(self.0, other.0))
    }
    #[inline(always)]
    fn is_zero(self) -> bool {
        !v128_any_true(self.0)
    }
    #[inline(always)]
    fn splat_i16(value: i16) -> Self {
        Self(i16x8_splat(value))
    }
    #[inline(always)]
    fn splat_i32(value: i32) -> Self {
        Self(i32x4_splat(value))
    }
    #[inline(always)]
    fn add_i16(self, other: Self) -> Self {
        Self(i16x8_add(self.0, other.0))
    }
    #[inline(always)]
    fn sub_i16(self, other: Self) -> Self {
        Self(i16x8_sub(self.0, other.0))
    }
    #[inline(always)]
    fn mul_i16(self, other: Self) -> Self {
        Self(i16x8_mul(self.0, other.0))
    }
    #[inline(always)]
    fn min_i16(self, other: Self) -> Self {
        Self(i16x8_min(self.0, other.0))
    }
    #[inline(always)]
    fn max_i16(self, other: Self) -> Self {
        Self(i16x8_max(self.0, other.0))
    }
    #[inline(always)]
    fn shift_right_i16<const BITS: u32>(self) -> Self {
        Self(i16x8_shr(self.0, BITS))
    }
    #[inline(always)]
    fn add_i32(self, other: Self) -> Self {
        Self(i32x4_add(self.0, other.0))
    }
    #[inline(always)]
    fn sub_i32(self, other: Self) -> Self {
        Self(i32x4_sub(self.0, other.0))
    }
    #[inline(always)]
    fn dot(self, other: Self) -> Self {
        Self(i32x4_dot_i16x8(self.0, other.0))
    }
    #[inline(always)]
    fn shift_right_i32<const BITS: u32>(self) -> Self {
        Self(i32x4_shr(self.0, BITS))
    }
    #[inline(always)]
    fn narrow_i32(self, high: Self) -> Self {
        Self(i16x8_narrow_i32x4(self.0, high.0))
    }
    #[inline(always)]
    fn narrow_samples(self, high: Self) -> Self {
        Self(v128_xor(i8x16_narrow_i16x8(self.0, high.0), i8x16_splat(-128)))
    }
    #[inline(always)]
    fn narrow_narrowed(self, high: Self) -> Self {
        // The compiler would join two steps of narrowing to comparisons and shuffles, which take five times as many
        // instructions. It does not if there is another step in between; this one only changes lanes that saturate anyway.
        let middle = i16x8_splat(128);
        let same = |lanes: v128| i16x8_sub(i16x8_add_sat(lanes, middle), middle);
        Self(same(self.0)).narrow_samples(Self(same(high.0)))
    }
    #[inline(always)]
    fn halves(self) -> [[u8; 8]; 2] {
        [u64x2_extract_lane::<0>(self.0), u64x2_extract_lane::<1>(self.0)].map(u64::to_le_bytes)
    }
    #[inline(always)]
    fn low_u8(self, other: Self) -> Self {
        Self(i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(self.0, other.0))
    }
    #[inline(always)]
    fn high_u8(self, other: Self) -> Self {
        Self(i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(self.0, other.0))
    }
    #[inline(always)]
    fn low_i16(self, other: Self) -> Self {
        Self(i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(self.0, other.0))
    }
    #[inline(always)]
    fn high_i16(self, other: Self) -> Self {
        Self(i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(self.0, other.0))
    }
    #[inline(always)]
    fn low_i32(self, other: Self) -> Self {
        Self(i32x4_shuffle::<0, 4, 1, 5>(self.0, other.0))
    }
    #[inline(always)]
    fn high_i32(self, other: Self) -> Self {
        Self(i32x4_shuffle::<2, 6, 3, 7>(self.0, other.0))
    }
    #[inline(always)]
    fn low_i64(self, other: Self) -> Self {
        Self(i64x2_shuffle::<0, 2>(self.0, other.0))
    }
    #[inline(always)]
    fn high_i64(self, other: Self) -> Self {
        Self(i64x2_shuffle::<1, 3>(self.0, other.0))
    }
    #[inline(always)]
    fn ff_mask(self) -> u32 {
        u32::from(i8x16_bitmask(i8x16_eq(self.0, i8x16_splat(-1))))
    }
    #[inline(always)]
    fn scaled(self, factor: f32) -> [f32; 4] {
        let floats = f32x4_mul(f32x4_convert_i32x4(self.0), f32x4_splat(factor));
        let mut lanes = [0.0; 4];
        // SAFETY: the reference covers exactly the bytes that are accessed.
        unsafe { v128_store(lanes.as_mut_ptr().cast(), floats) };
        lanes
    }
}
