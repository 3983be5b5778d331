//! The objects of JavaScript by their classes: `Error`, `Uint8Array`, `Function` …
//!
//! An object begins with the address of its shape, a shape with that of its base, a base with that of its class, and a class,
//! which is static data, with that of its name. Objects, shapes and bases are in arenas. Where all of this is true, there
//! is an object. An arena begins with its list of free cells, which may still look like the objects that they were.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::heap::word;
use crate::symbols::LONGEST_NAME;

/// Objects are in arenas of this many bytes, arenas in chunks of this many.
pub(super) const ARENA: u32 = 4 << 10;
pub(super) const CHUNK: u32 = 1 << 20;
/// Bytes between two places where an object can begin.
const CELL: usize = 8;
/// Bytes at the beginning of an arena that are none of its cells.
const ARENA_HEADER: u32 = 32;
/// Maximum lists of free cells that an arena has: one for each second cell.
const MAX_SPANS: usize = ARENA as usize / CELL / 2;

/// The number of objects of each class. `chunks` are the addresses of the chunks of arenas; static data ends at `statics_end`.
pub(crate) fn count(memory: &[u8], chunks: &[u32], statics_end: u32) -> BTreeMap<String, u64> {
    let are_chunks: HashSet<u32> = chunks.iter().map(|chunk| chunk / CHUNK).collect();
    let inside = |address: u32| address.is_multiple_of(4) && are_chunks.contains(&(address / CHUNK));
    // What each word that was read is as a shape: the name of its class.
    let mut shapes: HashMap<u32, Option<String>> = HashMap::new();
    let class = |shape: u32| {
        let base = word(memory, shape).filter(|&base| inside(base))?;
        let class = word(memory, base).filter(|&class| class < statics_end)?;
        name(memory, word(memory, class)?, statics_end)
    };
    let mut counts = BTreeMap::new();
    for arena in chunks.iter().flat_map(|chunk| (*chunk..chunk.saturating_add(CHUNK)).step_by(ARENA as usize)) {
        let free = free_cells(memory, arena);
        for offset in (ARENA_HEADER..ARENA).step_by(CELL) {
            let Some(shape) = word(memory, arena + offset).filter(|&shape| inside(shape)) else { continue };
            if free.iter().any(|(first, last)| (*first..=*last).contains(&offset)) {
                continue;
            }
            if let Some(name) = shapes.entry(shape).or_insert_with(|| class(shape)) {
                match counts.get_mut(name.as_str()) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(name.clone(), 1);
                    }
                }
            }
        }
    }
    counts
}

/// The free cells of an arena: the offsets of the first and the last one of each row of them. The next row is in the last one.
fn free_cells(memory: &[u8], arena: u32) -> Vec<(u32, u32)> {
    let (mut found, mut at) = (Vec::new(), arena);
    for _ in 0..MAX_SPANS {
        let Some(span) = word(memory, at) else { break };
        let (first, last) = (span & 0xFFFF, span >> 16);
        if first == 0 || first > last || last >= ARENA {
            break;
        }
        found.push((first, last));
        at = arena + last;
    }
    found
}

/// The name of a class at an address: letters and digits.
fn name(memory: &[u8], address: u32, statics_end: u32) -> Option<String> {
    let bytes = memory.get(address as usize..).filter(|_| address != 0 && address < statics_end)?;
    let length = bytes.iter().take(LONGEST_NAME).position(|&byte| byte == 0).filter(|&length| length > 1)?;
    let is_name = bytes[0].is_ascii_alphabetic() && bytes[..length].iter().all(u8::is_ascii_alphanumeric);
    is_name.then(|| bytes[..length].iter().map(|&byte| char::from(byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A class with its name, a base and a shape of it; two objects, and one that was freed.
    #[test]
    fn objects_are_counted_by_the_name_of_their_class() {
        let mut memory = vec![0; 2 * CHUNK as usize];
        let mut put = |address: u32, value: u32| {
            memory[address as usize..address as usize + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(64, 128);
        put(128, u32::from_le_bytes(*b"Erro"));
        put(132, u32::from(b'r'));
        let (base, shape, arena) = (CHUNK + ARENA + 32, CHUNK + 2 * ARENA + 32, CHUNK + 3 * ARENA);
        put(base, 64);
        put(shape, base);
        for offset in [32, 48, 64, 80, 96] {
            put(arena + offset, shape);
        }
        // The cells at 64 and 80 are free, and the list ends in the second one.
        put(arena, 80 << 16 | 64);
        put(arena + 80, 0);
        let counts = count(&memory, &[CHUNK], CHUNK);
        assert_eq!(counts, BTreeMap::from([("Error".to_owned(), 3)]));
        assert_eq!(count(&memory, &[], CHUNK), BTreeMap::new());
        assert_eq!(count(&[], &[CHUNK], CHUNK), BTreeMap::new());
    }
}
