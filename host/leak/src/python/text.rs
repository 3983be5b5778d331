//! Text in linear memory.

use plimsoll_runtime::text::printable;

use crate::heap::word;
use crate::symbols::LONGEST_NAME;

/// Maximum bytes of a string of C that is read.
const LONGEST_C_STRING: usize = 512;

/// The string of C at an address; `None` if it does not end.
pub(super) fn c_string(memory: &[u8], address: u32) -> Option<String> {
    let bytes = memory.get(address as usize..).filter(|_| address != 0)?;
    let bytes = &bytes[..bytes.len().min(LONGEST_C_STRING)];
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Returns true for a name of a member: not empty, and of letters.
pub(super) fn ascii_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The contents of a str object with these offsets: its state, its length, the sizes of its two headers.
pub(super) fn str_object(memory: &[u8], address: u32, offsets: &super::offsets::Offsets) -> Option<String> {
    let field = |offset: u32| word(memory, address.checked_add(offset)?);
    let state = field(offsets.str_state)?;
    // The bit field: two bits that say whether it is interned, three that give the bytes of a character, `compact`, `ascii`.
    let (kind, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 == 1, state >> 6 & 1 == 1);
    let length = field(offsets.str_length)? as usize;
    let header = match (is_compact, is_ascii) {
        (true, true) => offsets.ascii_size,
        // The last word of the larger header points to characters that are elsewhere.
        (true, false) => offsets.str_size.checked_sub(4)?,
        (false, _) => return None,
    };
    let from = address.checked_add(header)? as usize;
    let shown = length.min(LONGEST_NAME);
    let bytes = memory.get(from..from.checked_add(shown.checked_mul(kind as usize)?)?)?;
    let text: String = match kind {
        1 => bytes.iter().map(|&byte| char::from(byte)).collect(),
        2 => {
            let units = bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
            units.map(|unit| char::from_u32(unit.into()).unwrap_or('\u{FFFD}')).collect()
        }
        4 => {
            let units = bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            units.map(|unit| char::from_u32(unit).unwrap_or('\u{FFFD}')).collect()
        }
        _ => return None,
    };
    Some(printable(&text, LONGEST_NAME))
}
