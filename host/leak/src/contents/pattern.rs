//! Changes of bytes that are different for each number.

/// Four bytes that are different for each number, and differ in all bytes already for small numbers.
pub(super) fn pattern(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9E37_79B1).to_le_bytes()
}

/// Changes bytes by a pattern.
pub(super) fn xor(bytes: &mut [u8], pattern: [u8; 4]) {
    bytes.iter_mut().zip(pattern.iter().cycle()).for_each(|(byte, change)| *byte ^= change);
}
