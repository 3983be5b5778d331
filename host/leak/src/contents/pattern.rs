//! Changes of bytes that are different for each number.

/// Four bytes that are different for each number, and differ in all bytes already for small numbers.
pub(super) fn pattern(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9E37_79B1).to_le_bytes()
}

/// Changes bytes by a pattern.
pub(super) fn xor(bytes: &mut [u8], pattern: [u8; 4]) {
    bytes.iter_mut().zip(pattern.iter().cycle()).for_each(|(byte, change)| *byte ^= change);
}

/// A number below `count` for each number: `count` successive numbers give different ones, and neighbours are far apart, so that
/// all places of a content change from one to the next.
pub(super) fn scattered(number: u32, count: u64) -> u64 {
    let mut step = (0x9E37_79B9_7F4A_7C15 % count.max(1)) | 1;
    while divisor(step, count) > 1 {
        step += 2;
    }
    (u128::from(number) * u128::from(step) % u128::from(count.max(1))) as u64
}

/// The greatest common divisor.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
