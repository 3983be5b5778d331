//! The interpreter's own table of offsets. `_PyRuntime` begins with `_Py_DebugOffsets` (CPython's
//! `Include/internal/pycore_debug_offsets.h`), which profilers and debuggers of other processes use: the cookie
//! `xdebugpy`, the version of CPython, and for each structure its size and the offsets of its fields, 64 bits each.

use crate::heap::word;

/// What the table begins with.
const COOKIE: &[u8] = b"xdebugpy";
/// Bytes of a field of the table.
const FIELD: usize = 8;
/// The version whose table is known field by field, without the micro version: 3.14. In the tables of later versions the
/// structures are searched for (`later`).
const KNOWN: u32 = 0x030E;
/// Largest plausible offset in a structure other than those of the runtime and the interpreter.
pub(super) const LARGEST: u32 = 1 << 20;

/// A version of CPython.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, micro, level] = self.0.to_be_bytes();
        write!(f, "{major}.{minor}.{micro}")?;
        // `PY_VERSION_HEX`: the level of the release (10 alpha, 11 beta, 12 candidate, 15 final) and its number.
        match level >> 4 {
            0xA => write!(f, "a{}", level & 15),
            0xB => write!(f, "b{}", level & 15),
            0xC => write!(f, "rc{}", level & 15),
            _ => Ok(()),
        }
    }
}

/// The offsets that are used. All are bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    /// The first interpreter, in `_PyRuntime`.
    pub(super) interpreters_head: u32,
    /// The size of `_PyRuntime`.
    pub(super) runtime_size: u32,
    /// In the interpreter's state.
    pub(super) threads_head: u32,
    pub(super) modules: u32,
    /// In a thread's state.
    pub(super) current_frame: u32,
    /// In an interpreter frame.
    pub(super) frame: FrameOffsets,
    /// In a code object.
    pub(super) code: CodeOffsets,
    pub(super) ob_type: u32,
    /// In a type.
    pub(super) type_size: u32,
    pub(super) tp_name: u32,
    pub(super) tp_flags: u32,
    pub(super) tuple_items: u32,
    pub(super) list_items: u32,
    /// The length of tuples, lists, bytes and all other objects of variable size.
    pub(super) ob_size: u32,
    /// In a set.
    pub(super) set_table: u32,
    pub(super) set_mask: u32,
    /// In a dict.
    pub(super) ma_keys: u32,
    pub(super) ma_values: u32,
    /// In an int.
    pub(super) long_tag: u32,
    pub(super) long_digits: u32,
    pub(super) bytes_data: u32,
    /// In a str.
    pub(super) str_state: u32,
    pub(super) str_length: u32,
    pub(super) ascii_size: u32,
    pub(super) str_size: u32,
    /// The frame of a generator, in the generator.
    pub(super) generator_frame: u32,
}

/// Offsets in an interpreter frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FrameOffsets {
    pub(super) previous: u32,
    pub(super) executable: u32,
    pub(super) instruction: u32,
    pub(super) locals: u32,
    pub(super) owner: u32,
    pub(super) stack_pointer: u32,
}

/// Offsets in a code object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CodeOffsets {
    pub(super) filename: u32,
    pub(super) qualname: u32,
    pub(super) lines: u32,
    pub(super) first_line: u32,
    pub(super) local_names: u32,
    pub(super) instructions: u32,
}

/// The table, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// The memory has no interpreter.
    None,
    /// A CPython whose table is another one.
    Other(Version),
    /// The address of `_PyRuntime`, and the offsets.
    Found(Version, u32, Offsets),
    /// The address of `_PyRuntime` of a later version.
    Later(Version, u32),
}

impl Table {
    /// Searches for the table in linear memory. The cookie alone is not enough, because the library has it as a constant, too.
    pub(super) fn find(memory: &[u8]) -> Self {
        let mut found = Self::None;
        let mut from = 0;
        while let Some(at) = position(memory, from) {
            from = at + 1;
            let Ok(address) = u32::try_from(at) else { break };
            let version = address.checked_add(FIELD as u32).and_then(|at| word(memory, at));
            let is_version = |version: &u32| version >> 24 == 3 && at.is_multiple_of(4);
            let Some(version) = version.filter(is_version) else { continue };
            if version >> 16 > KNOWN {
                // The cookie as a constant has no addresses behind it.
                if field(memory, address, 2).is_some() {
                    return Self::Later(Version(version), address);
                }
            }
            if version >> 16 != KNOWN {
                found = Self::Other(Version(version));
                continue;
            }
            match Offsets::read(memory, address) {
                Some(offsets) => return Self::Found(Version(version), address, offsets),
                None => found = Self::Other(Version(version)),
            }
        }
        found
    }
}

/// The next place of the cookie.
fn position(memory: &[u8], from: usize) -> Option<usize> {
    let rest = memory.get(from..)?;
    let mut start = 0;
    // The first byte is rare, so that a search for it is fast.
    while let Some(at) = rest[start..].iter().position(|&byte| byte == COOKIE[0]) {
        let at = start + at;
        if rest[at..].starts_with(COOKIE) {
            return Some(from + at);
        }
        start = at + 1;
    }
    None
}

/// A field of a table; `None` if it has more than 32 bits.
pub(super) fn field(memory: &[u8], table: u32, index: usize) -> Option<u32> {
    let at = table.checked_add(u32::try_from(index.checked_mul(FIELD)?).ok()?)?;
    (word(memory, at.checked_add(4)?)? == 0).then(|| word(memory, at)).flatten()
}

impl Offsets {
    /// Reads the table of CPython 3.14. `None` if a value is implausible, or if the interpreter was built without its global
    /// lock, because its objects then have another header.
    fn read(memory: &[u8], table: u32) -> Option<Self> {
        let field = |index: usize| field(memory, table, index);
        let small = |index: usize| field(index).filter(|&offset| offset <= LARGEST);
        if field(2)? != 0 {
            return None;
        }
        Some(Self {
            runtime_size: field(3)?,
            interpreters_head: field(5)?,
            threads_head: small(9)?,
            modules: small(12)?,
            current_frame: small(26)?,
            frame: FrameOffsets {
                previous: small(32)?,
                executable: small(33)?,
                instruction: small(34)?,
                locals: small(35)?,
                owner: small(36)?,
                stack_pointer: small(37)?,
            },
            code: CodeOffsets {
                filename: small(40)?,
                qualname: small(42)?,
                lines: small(43)?,
                first_line: small(44)?,
                local_names: small(46)?,
                instructions: small(48)?,
            },
            ob_type: small(51)?,
            type_size: small(52)?,
            tp_name: small(53)?,
            tp_flags: small(55)?,
            tuple_items: small(57)?,
            ob_size: small(58)?,
            list_items: small(60)?,
            set_table: small(64)?,
            set_mask: small(65)?,
            ma_keys: small(67)?,
            ma_values: small(68)?,
            long_tag: small(72)?,
            long_digits: small(73)?,
            bytes_data: small(76)?,
            str_size: small(77)?,
            str_state: small(78)?,
            str_length: small(79)?,
            ascii_size: small(80)?,
            generator_frame: small(85)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with a table of a version, whose fields are their own numbers.
    fn memory(version: u64, free_threaded: u64) -> Vec<u8> {
        let mut memory = b"constant xdebugpy".to_vec();
        memory.resize(64, 0);
        memory.extend(COOKIE);
        memory.extend(version.to_le_bytes());
        memory.extend(free_threaded.to_le_bytes());
        memory.extend((3..120u64).flat_map(u64::to_le_bytes));
        memory
    }

    #[test]
    fn the_table_is_found_by_its_cookie_and_version() {
        let Table::Found(version, address, offsets) = Table::find(&memory(0x030E_00F0, 0)) else { panic!("no table") };
        assert_eq!((version.to_string().as_str(), address), ("3.14.0", 64));
        assert_eq!((offsets.interpreters_head, offsets.modules, offsets.generator_frame), (5, 12, 85));
    }

    #[test]
    fn an_interpreter_whose_table_is_another_one_is_named() {
        for (memory, name) in [(memory(0x030D_00A2, 0), "3.13.0a2"), (memory(0x030E_01F0, 1), "3.14.1")] {
            let Table::Other(version) = Table::find(&memory) else { panic!("{name}") };
            assert_eq!(version.to_string(), name);
        }
        let later = Table::find(&memory(0x030F_00F0, 0));
        assert!(matches!(later, Table::Later(version, 64) if version.to_string() == "3.15.0"));
        assert_eq!(Table::find(b"xdebugpy"), Table::None);
        assert_eq!(Table::find(&[]), Table::None);
        let mut broken = memory(0x030E_00F0, 0);
        broken.truncate(200);
        assert!(matches!(Table::find(&broken), Table::Other(_)));
    }
}
