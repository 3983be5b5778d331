//! Any bytes as the linear memory of a plugin: the walker of dlmalloc's heap ends, and its blocks lie in the memory and
//! do not overlap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_leak::heap::Heap;

fuzz_target!(|bytes: &[u8]| {
    let Some((from, memory)) = bytes.split_first_chunk::<4>() else { return };
    let Some(heap) = Heap::find(memory, u32::from_le_bytes(*from)) else { return };
    let Some(blocks) = heap.walk(memory) else { panic!("found, and not walkable") };
    for block in &blocks.blocks {
        let end = u64::from(block.address) + u64::from(block.usable());
        assert!(end <= memory.len() as u64, "{block:?} of {} bytes", memory.len());
        assert_eq!(blocks.holding(block.address).map(|(_, found)| found.address), Some(block.address), "{block:?}");
    }
});
