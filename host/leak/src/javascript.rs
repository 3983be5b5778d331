//! The engine of a plugin in JavaScript: SpiderMonkey, as componentize-js embeds it.
//!
//! The engine keeps an account of each zone (`js::ZoneAllocator`): the bytes of its objects, the bytes of the buffers that
//! belong to them, and the thresholds at which it collects. All of this is in linear memory. The parameters from which
//! thresholds are computed (`js::gc::GCSchedulingTunables`) have the same numbers in every build (27 MiB of objects, 38 MiB
//! of buffers, a growth of 1.5), so they are found by these numbers. An engine with other ones is not read.
//!
//! By itself the engine collects only after 57 MiB of buffers. So the laboratory sets the thresholds of all zones to 0
//! before the last call of a round, as a debugger would: the engine then collects during this call, and computes new
//! thresholds. That they are new is the proof of the collection. `objects`: what is left, by class.

mod objects;

use super::heap::{Block, word};
pub(crate) use objects::count as count_objects;
use objects::{ARENA, CHUNK};

/// `gcZoneAllocThresholdBase` and `mallocThresholdBase` of SpiderMonkey, and the bytes between the two.
const OBJECTS_BASE: u32 = 27 << 20;
const BUFFERS_BASE: u32 = 38 << 20;
const BETWEEN_BASES: u32 = 60;
/// The first threshold for buffers: the base times `lowFrequencyHeapGrowth` (1.5).
const BUFFERS_THRESHOLD: u32 = BUFFERS_BASE / 2 * 3;
/// Where other fields of a zone are, in bytes before its threshold for buffers: the bytes of its objects, those of its buffers,
/// and the threshold for objects.
const OBJECTS: u32 = 40;
const BUFFERS: u32 = 12;
const OBJECTS_THRESHOLD: u32 = 24;
/// Where fields are that no zone without a collection at work has set: the sizes from which slices of a collection run.
const NO_SLICE: u32 = u32::MAX;
/// Bytes of a chunk of scratch memory, and of its head.
const SCRATCH: u32 = 4_096;
const SCRATCH_HEAD: u32 = 16;
/// Most bytes that the allocator adds to a chunk.
const CHUNK_REST: u32 = 256;

/// The zones of an engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    zones: Vec<Zone>,
}

/// A zone: the address of its threshold for buffers, and both thresholds as they were before a collection was asked for.
#[derive(Debug, Clone)]
struct Zone {
    address: u32,
    thresholds: Option<[u32; 2]>,
}

impl Zone {
    /// The addresses of its thresholds: for buffers, and for objects.
    fn thresholds(&self) -> [u32; 2] {
        [self.address, self.address - OBJECTS_THRESHOLD]
    }
}

impl Engine {
    /// Searches for the engine in the memory of an instance that has not been called yet.
    pub(crate) fn find(memory: &[u8]) -> Option<Self> {
        let words = (0..memory.len() as u64 / 4).map(|at| at as u32 * 4);
        let (mut bases, mut zones) = (0, Vec::new());
        for address in words {
            match word(memory, address)? {
                BUFFERS_BASE => {
                    let objects = address.checked_sub(BETWEEN_BASES).and_then(|at| word(memory, at));
                    bases += usize::from(objects == Some(OBJECTS_BASE));
                }
                BUFFERS_THRESHOLD if is_zone(memory, address) => zones.push(Zone { address, thresholds: None }),
                _ => {}
            }
        }
        (bases == 1 && !zones.is_empty()).then_some(Self { zones })
    }

    /// Makes the engine collect as soon as it allocates.
    pub(crate) fn ask(&mut self, memory: &mut [u8]) {
        for zone in &mut self.zones {
            let [buffers, objects] = zone.thresholds();
            let (Some(before), Some(of_objects)) = (word(memory, buffers), word(memory, objects)) else { continue };
            zone.thresholds = Some([before, of_objects]);
            put(memory, buffers, 0);
            put(memory, objects, 0);
        }
    }

    /// Returns true if a zone was collected since [`Engine::ask`]. The thresholds of the others are as before then.
    pub(crate) fn has_collected(&mut self, memory: &mut [u8]) -> bool {
        let mut has_collected = false;
        for zone in &mut self.zones {
            let Some(before) = zone.thresholds.take() else { continue };
            let is_new = zone.thresholds().iter().all(|&at| word(memory, at).is_some_and(|threshold| threshold > 0));
            has_collected |= is_new;
            for (at, before) in zone.thresholds().into_iter().zip(before) {
                if word(memory, at) == Some(0) {
                    put(memory, at, before);
                }
            }
        }
        has_collected
    }

    /// Bytes of the objects of all zones, in whole arenas.
    pub(crate) fn object_bytes(&self, memory: &[u8]) -> u64 {
        self.sum(OBJECTS, memory)
    }

    /// Bytes of the buffers of all zones. The elements of arrays and the tables of a `Map` or a `Set` are in chunks of the engine,
    /// so this account is the only trace of them; other buffers are blocks of the allocator, too.
    pub(crate) fn buffer_bytes(&self, memory: &[u8]) -> u64 {
        self.sum(BUFFERS, memory)
    }

    /// The sum of a field of all zones.
    fn sum(&self, field: u32, memory: &[u8]) -> u64 {
        self.zones.iter().map(|zone| word(memory, zone.address - field).map_or(0, u64::from)).sum()
    }
}

/// Returns true if the word at `address` is the threshold of a zone.
fn is_zone(memory: &[u8], address: u32) -> bool {
    let Some(objects) = address.checked_sub(OBJECTS) else { return false };
    let is = |at: u32, expected: u32| word(memory, at) == Some(expected);
    is(address + 8, NO_SLICE)
        && is(address - 16, NO_SLICE)
        && word(memory, objects).is_some_and(|bytes| bytes.is_multiple_of(ARENA))
}

/// Returns true if a block holds a chunk of the engine's objects: they are counted by the account of the zones.
pub(crate) fn is_chunk(block: Block) -> bool {
    block.address.is_multiple_of(CHUNK) && (CHUNK..=CHUNK + CHUNK_REST).contains(&block.usable())
}

/// Returns true if a block is a chunk of the engine's scratch memory (`js::LifoAlloc`) in which nothing is: the address of its next
/// chunk, that of its first free byte, and that of its end. Each collection leaves one if a regular expression was compiled
/// since the collection before, and the engine keeps it.
pub(crate) fn is_unused_scratch(block: Block, memory: &[u8]) -> bool {
    let end = block.address.checked_add(SCRATCH);
    (SCRATCH..=SCRATCH + CHUNK_REST).contains(&block.usable())
        && word(memory, block.address.saturating_add(4)) == block.address.checked_add(SCRATCH_HEAD)
        && end.is_some()
        && word(memory, block.address.saturating_add(8)) == end
}

fn put(memory: &mut [u8], address: u32, value: u32) {
    if let Some(bytes) = memory.get_mut(address as usize..address as usize + 4) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with the parameters and one zone.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0; 4_096];
        for (address, value) in [
            (400, OBJECTS_BASE),
            (460, BUFFERS_BASE),
            (960, 12 * ARENA),
            (976, OBJECTS_BASE + 5),
            (984, NO_SLICE),
            (988, 777),
            (1_000, BUFFERS_THRESHOLD),
            (1_008, NO_SLICE),
            // Numbers that only look like a zone.
            (2_000, BUFFERS_THRESHOLD),
            (8, BUFFERS_THRESHOLD),
        ] {
            put(&mut memory, address, value);
        }
        memory
    }

    #[test]
    fn a_collection_is_asked_for_and_seen() {
        let mut memory = memory();
        let mut engine = Engine::find(&memory).expect("found");
        assert_eq!((engine.zones.len(), engine.object_bytes(&memory)), (1, 12 * 4_096));
        assert_eq!(engine.buffer_bytes(&memory), 777);
        engine.ask(&mut memory);
        assert_eq!([word(&memory, 1_000), word(&memory, 976)], [Some(0); 2]);
        assert!(!engine.has_collected(&mut memory), "nothing was collected");
        assert_eq!([word(&memory, 1_000), word(&memory, 976)], [Some(BUFFERS_THRESHOLD), Some(OBJECTS_BASE + 5)]);
        engine.ask(&mut memory);
        put(&mut memory, 1_000, 70 << 20);
        put(&mut memory, 976, 30 << 20);
        assert!(engine.has_collected(&mut memory));
        assert_eq!(word(&memory, 1_000), Some(70 << 20), "the engine's own threshold");
    }

    #[test]
    fn an_engine_with_other_numbers_is_not_read() {
        for address in [400, 460, 1_000, 1_008] {
            let mut other = memory();
            put(&mut other, address, 7);
            assert!(Engine::find(&other).is_none(), "{address}");
        }
        let mut twice = memory();
        put(&mut twice, 3_000, OBJECTS_BASE);
        put(&mut twice, 3_060, BUFFERS_BASE);
        assert!(Engine::find(&twice).is_none(), "it is not known which one counts");
        assert!(Engine::find(&[]).is_none());
    }

    #[test]
    fn a_chunk_of_scratch_memory_is_unused_if_its_first_byte_is_free() {
        let mut memory = vec![0; 16_384];
        let block = Block { address: 4_104, size: 4_112 };
        put(&mut memory, 4_108, 4_104 + 16);
        put(&mut memory, 4_112, 4_104 + 4_096);
        assert!(is_unused_scratch(block, &memory));
        assert!(!is_unused_scratch(Block { size: 8_208, ..block }, &memory));
        put(&mut memory, 4_108, 4_104 + 32);
        assert!(!is_unused_scratch(block, &memory), "something is in it");
        assert!(!is_unused_scratch(Block { address: 16_376, size: 4_112 }, &memory));
    }

    #[test]
    fn a_chunk_is_an_aligned_block_of_its_size() {
        assert!(is_chunk(Block { address: 3 << 20, size: CHUNK + 16 }));
        assert!(!is_chunk(Block { address: (3 << 20) + 16, size: CHUNK + 16 }));
        assert!(!is_chunk(Block { address: 3 << 20, size: CHUNK + 4_096 }));
    }
}
