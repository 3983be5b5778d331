//! Vectors of sixteen bytes for the kernels: one trait with three implementations.
//!
//! The kernels are written once, generic over [`Lanes`]. WebAssembly runs them on its 128-bit vectors, x86-64 on SSE2,
//! and all other machines on arrays. All three give bit-identical results; the tests of the kernels and the comparison
//! of the plugin with the native build check this.
//!
//! This is the only module with `unsafe` code. There are two kinds. Vector loads and stores take a reference to an
//! array of exactly the bytes that are read or written, so the type guarantees that the access is in bounds and valid
//! (no alignment is needed: `v128.load` and `movdqu` accept any address). The intrinsics of SSE2 are sound, because
//! every x86-64 processor has SSE2.

mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(target_arch = "x86_64")]
mod sse2;

pub(crate) use scalar::Scalar;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) type Best = simd128::Simd128;
#[cfg(target_arch = "x86_64")]
pub(crate) type Best = sse2::Sse2;
/// The implementation that this build uses.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
pub(crate) type Best = scalar::Scalar;

/// Sixteen bytes, used as sixteen lanes of 8, eight of 16 or four of 32 bits. Sums and products wrap.
pub(crate) trait Lanes: Copy {
    fn load_u8(from: &[u8; 16]) -> Self;
    fn load_i16(from: &[i16; 8]) -> Self;
    fn load_i32(from: &[i32; 4]) -> Self;
    fn store_i16(self, to: &mut [i16; 8]);
    fn store_i32(self, to: &mut [i32; 4]);
    fn store_u8(self, to: &mut [u8; 16]);
    /// Stores the bytes in reverse order.
    fn store_reversed(self, to: &mut [u8; 16]);
    fn min_u8(self, other: Self) -> Self;
    fn max_u8(self, other: Self) -> Self;
    /// Differences of bytes; negative ones are 0.
    fn sub_u8(self, other: Self) -> Self;
    /// Sums of bytes; those above 255 are 255.
    fn add_u8(self, other: Self) -> Self;
    /// Sums and differences of signed bytes, saturating.
    fn add_i8(self, other: Self) -> Self;
    fn sub_i8(self, other: Self) -> Self;
    /// 0xFF where the bytes are equal, otherwise 0.
    fn equal_u8(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn is_zero(self) -> bool;

    #[inline(always)]
    fn splat_u8(value: u8) -> Self {
        Self::splat_i16(i16::from_le_bytes([value; 2]))
    }
    fn splat_i16(value: i16) -> Self;
    fn splat_i32(value: i32) -> Self;

    fn add_i16(self, other: Self) -> Self;
    fn sub_i16(self, other: Self) -> Self;
    fn mul_i16(self, other: Self) -> Self;
    fn min_i16(self, other: Self) -> Self;
    fn max_i16(self, other: Self) -> Self;
    fn shift_right_i16<const BITS: u32>(self) -> Self;
    /// Shifts 16-bit lanes and fills them with zeros.
    fn shift_right_u16<const BITS: u32>(self) -> Self;
    fn add_i32(self, other: Self) -> Self;
    fn sub_i32(self, other: Self) -> Self;
    /// Multiplies the 16-bit lanes and adds the products in pairs, giving 32-bit lanes.
    fn dot(self, other: Self) -> Self;
    fn shift_right_i32<const BITS: u32>(self) -> Self;

    /// Converts eight lanes from 32 to 16 bits, saturating.
    fn narrow_i32(self, high: Self) -> Self;
    /// Adds 128 to sixteen lanes of 16 bits and converts them to bytes, saturating.
    fn narrow_samples(self, high: Self) -> Self;
    /// Like [`Lanes::narrow_samples`], for lanes that come from [`Lanes::narrow_i32`] without a step in between.
    #[inline(always)]
    fn narrow_narrowed(self, high: Self) -> Self {
        self.narrow_samples(high)
    }
    /// The bytes of the low half and of the high half.
    fn halves(self) -> [[u8; 8]; 2];

    /// `low_*` interleaves the lanes of the low halves of both vectors, `high_*` those of the high halves.
    fn low_u8(self, other: Self) -> Self;
    fn high_u8(self, other: Self) -> Self;
    fn low_i16(self, other: Self) -> Self;
    fn high_i16(self, other: Self) -> Self;
    fn low_i32(self, other: Self) -> Self;
    fn high_i32(self, other: Self) -> Self;
    fn low_i64(self, other: Self) -> Self;
    fn high_i64(self, other: Self) -> Self;

    /// One bit for each byte, the lowest bit for the first byte: 1 if the byte is 0xFF.
    fn ff_mask(self) -> u32;
    /// Converts four 32-bit integers to floats and multiplies them by a factor.
    fn scaled(self, factor: f32) -> [f32; 4];
}
