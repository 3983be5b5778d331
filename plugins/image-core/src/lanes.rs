//! Sixteen bytes at a time: what the kernels compute with, in three implementations of one trait.
//!
//! The kernels are written once, over [`Lanes`]. WebAssembly runs them on its 128-bit vectors, x86-64 on SSE2, and
//! everything else on arrays. All three give the same bits, which the tests of the kernels and the comparison of the
//! plugin with the native build hold them to.
//!
//! This is the only module with `unsafe` code. It has two kinds: vector loads and stores, whose argument is a reference
//! to an array of exactly the bytes that are read or written, so that they are in bounds and valid by its type (no
//! alignment is needed: `v128.load` and `movdqu` take any); and the intrinsics of SSE2, which the architecture x86-64
//! always has.

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
/// The lanes that this build uses.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
pub(crate) type Best = scalar::Scalar;

/// Sixteen bytes, read as sixteen of 8, eight of 16 or four of 32 bits. Sums and products wrap.
pub(crate) trait Lanes: Copy {
    fn load_u8(from: &[u8; 16]) -> Self;
    fn load_i16(from: &[i16; 8]) -> Self;
    fn load_i32(from: &[i32; 4]) -> Self;
    fn store_i16(self, to: &mut [i16; 8]);
    fn store_i32(self, to: &mut [i32; 4]);
    /// The bytes in reverse order.
    fn store_reversed(self, to: &mut [u8; 16]);
    fn splat_i16(value: i16) -> Self;
    fn splat_i32(value: i32) -> Self;

    fn add_i16(self, other: Self) -> Self;
    fn sub_i16(self, other: Self) -> Self;
    fn mul_i16(self, other: Self) -> Self;
    fn add_i32(self, other: Self) -> Self;
    fn sub_i32(self, other: Self) -> Self;
    /// Products of 16-bit lanes, summed in pairs to 32 bits.
    fn dot(self, other: Self) -> Self;
    fn shift_right_i32<const BITS: u32>(self) -> Self;

    /// Eight lanes of 32 bits to 16, saturating.
    fn narrow_i32(self, high: Self) -> Self;
    /// Sixteen lanes of 16 bits to bytes, moved by 128 and saturating: the samples of two rows of a block.
    fn narrow_samples(self, high: Self) -> [[u8; 8]; 2];

    fn low_u8(self, other: Self) -> Self;
    fn high_u8(self, other: Self) -> Self;
    fn low_i16(self, other: Self) -> Self;
    fn high_i16(self, other: Self) -> Self;
    fn low_i32(self, other: Self) -> Self;
    fn high_i32(self, other: Self) -> Self;
    fn low_i64(self, other: Self) -> Self;
    fn high_i64(self, other: Self) -> Self;

    /// One bit for each byte, the lowest for the first: whether it is 0xFF.
    fn ff_mask(self) -> u32;
    /// Four 32-bit integers as floats, times a factor.
    fn scaled(self, factor: f32) -> [f32; 4];
}
