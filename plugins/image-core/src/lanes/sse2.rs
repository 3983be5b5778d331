//! [`Lanes`] on SSE2, which every x86-64 processor has.

use core::arch::x86_64::*;

use super::Lanes;

/// A vector of 128 bits.
#[derive(Clone, Copy)]
pub(crate) struct Sse2(__m128i);

impl Lanes for Sse2 {
    #[inline(always)]
    fn load_u8(from: &[u8; 16]) -> Self {
        // SAFETY: the reference covers exactly the bytes that are accessed, and x86-64 has SSE2.
        Self(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn load_i16(from: &[i16; 8]) -> Self {
        // SAFETY: the reference covers exactly the bytes that are accessed, and x86-64 has SSE2.
        Self(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn load_i32(from: &[i32; 4]) -> Self {
        // SAFETY: the reference covers exactly the bytes that are accessed, and x86-64 has SSE2.
        Self(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store_i16(self, to: &mut [i16; 8]) {
        // SAFETY: the reference covers exactly the bytes that are accessed, and x86-64 has SSE2.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn store_i32(self, to: &mut [i32; 4]) {
        // SAFETY: the reference covers exactly the bytes that are accessed, and x86-64 has SSE2.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn store_reversed(self, to: &mut [u8; 16]) {
        // SSE2 cannot shuffle bytes, but one instruction reverses the bytes of a 64-bit integer.
        // SAFETY: both types have sixteen bytes without padding.
        let halves: [u64; 2] = unsafe { core::mem::transmute(self.0) };
        let (low, high) = to.split_at_mut(8);
        low.copy_from_slice(&halves[1].to_be_bytes());
        high.copy_from_slice(&halves[0].to_be_bytes());
    }
    #[inline(always)]
    fn min_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_min_epu8(self.0, other.0) })
    }
    #[inline(always)]
    fn max_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_max_epu8(self.0, other.0) })
    }
    #[inline(always)]
    fn sub_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_subs_epu8(self.0, other.0) })
    }
    #[inline(always)]
    fn store_u8(self, to: &mut [u8; 16]) {
        // SAFETY: the reference covers exactly the bytes that are accessed, and x86-64 has SSE2.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn add_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_adds_epu8(self.0, other.0) })
    }
    #[inline(always)]
    fn add_i8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_adds_epi8(self.0, other.0) })
    }
    #[inline(always)]
    fn sub_i8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_subs_epi8(self.0, other.0) })
    }
    #[inline(always)]
    fn equal_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_cmpeq_epi8(self.0, other.0) })
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_and_si128(self.0, other.0) })
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_xor_si128(self.0, other.0) })
    }
    #[inline(always)]
    fn shift_right_u16<const BITS: u32>(self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_srl_epi16(self.0, _mm_cvtsi32_si128(BITS as i32)) })
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_or_si128(self.0, other.0) })
    }
    #[inline(always)]
    fn is_zero(self) -> bool {
        // SAFETY: x86-64 has SSE2.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_setzero_si128())) == 0xFFFF }
    }
    #[inline(always)]
    fn splat_i16(value: i16) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_set1_epi16(value) })
    }
    #[inline(always)]
    fn splat_i32(value: i32) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_set1_epi32(value) })
    }
    #[inline(always)]
    fn add_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_add_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn sub_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_sub_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_mullo_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn min_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_min_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn max_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_max_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn shift_right_i16<const BITS: u32>(self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_sra_epi16(self.0, _mm_cvtsi32_si128(BITS as i32)) })
    }
    #[inline(always)]
    fn add_i32(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_add_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn sub_i32(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_sub_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn dot(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_madd_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn shift_right_i32<const BITS: u32>(self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_sra_epi32(self.0, _mm_cvtsi32_si128(BITS as i32)) })
    }
    #[inline(always)]
    fn narrow_i32(self, high: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_packs_epi32(self.0, high.0) })
    }
    #[inline(always)]
    fn narrow_samples(self, high: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_xor_si128(_mm_packs_epi16(self.0, high.0), _mm_set1_epi8(-128)) })
    }
    #[inline(always)]
    fn halves(self) -> [[u8; 8]; 2] {
        // SAFETY: both types have sixteen bytes without padding.
        unsafe { core::mem::transmute(self.0) }
    }
    #[inline(always)]
    fn low_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpacklo_epi8(self.0, other.0) })
    }
    #[inline(always)]
    fn high_u8(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpackhi_epi8(self.0, other.0) })
    }
    #[inline(always)]
    fn low_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpacklo_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn high_i16(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpackhi_epi16(self.0, other.0) })
    }
    #[inline(always)]
    fn low_i32(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpacklo_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn high_i32(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpackhi_epi32(self.0, other.0) })
    }
    #[inline(always)]
    fn low_i64(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpacklo_epi64(self.0, other.0) })
    }
    #[inline(always)]
    fn high_i64(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_unpackhi_epi64(self.0, other.0) })
    }
    #[inline(always)]
    fn ff_mask(self) -> u32 {
        // SAFETY: x86-64 has SSE2.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_set1_epi8(-1))) as u32 }
    }
    #[inline(always)]
    fn scaled(self, factor: f32) -> [f32; 4] {
        // SAFETY: x86-64 has SSE2.
        let floats = unsafe { _mm_mul_ps(_mm_cvtepi32_ps(self.0), _mm_set1_ps(factor)) };
        // SAFETY: both types have sixteen bytes without padding.
        unsafe { core::mem::transmute(floats) }
    }
}
