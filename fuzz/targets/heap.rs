//! A linear memory with chunks of dlmalloc. Checks that the search and the walk end, and that the blocks lie in the memory
//! and do not overlap.
#![no_main]

mod memory;
mod random;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use memory::{MAX_PAGES, Memory, PAGE};
use plimsoll_leak::heap::Heap;
use random::Random;

fuzz_target!(|input: &[u8]| {
    let Some(memory) = Memory::decode(input) else { return };
    let _ = Heap::find_in_snapshot(&memory.bytes, memory.from).map(|heap| check(heap, &memory));
    if let Some(heap) = Heap::find(&memory.bytes, memory.from) {
        check(heap, &memory);
    }
});

fn check(heap: Heap, memory: &Memory) {
    let Some(blocks) = heap.walk(&memory.bytes) else { panic!("found, and not walkable") };
    assert!(heap.start() >= memory.from, "{heap:?} from {}", memory.from);
    assert!(blocks.covered <= memory.bytes.len() as u64, "{} bytes are covered", blocks.covered);
    let mut end = u64::from(heap.start());
    for block in &blocks.blocks {
        assert!(u64::from(block.address) >= end, "{block:?} begins before {end}");
        end = u64::from(block.address) + u64::from(block.usable());
        assert!(end <= memory.bytes.len() as u64, "{block:?} of {} bytes", memory.bytes.len());
        assert_eq!(blocks.holding(block.address).map(|(_, found)| found.address), Some(block.address), "{block:?}");
    }
    assert_eq!(blocks.bytes, blocks.blocks.iter().map(|block| u64::from(block.size)).sum::<u64>());
}

// One change in four changes any bytes; the others change a chunk.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed % 4 == 0 { None } else { change(&data[..size], max_size, seed) };
    match changed {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

const PREVIOUS_IN_USE: u32 = 1;
const IN_USE: u32 = 2;
const FENCEPOST: u32 = 7;

/// Changes one chunk of a memory, mostly so that its neighbours still agree with it.
fn change(input: &[u8], max_size: usize, seed: u32) -> Option<Vec<u8>> {
    let mut memory = Memory::decode(input)?;
    let mut random = Random::new(seed);
    let chunks = chunks(&memory);
    let chunk = chunks.get(random.below(chunks.len())).copied().unwrap_or_else(|| random.below(PAGE / 8) * 8);
    let head = memory.word(chunk + 4);
    let (size, flags) = ((head & !7) as usize, head & 7);
    let next = chunk + size;
    match random.below(9) {
        // Split in two.
        0 if size >= 32 => {
            let first = 16 + random.below(size / 8 - 3) * 8;
            memory.put(chunk + 4, first as u32 | flags);
            let previous = if flags & IN_USE == 0 { 0 } else { PREVIOUS_IN_USE };
            memory.put(chunk + first + 4, (size - first) as u32 | IN_USE | previous);
            if flags & IN_USE == 0 {
                memory.put(chunk + first, first as u32);
                set_flag(&mut memory, next, true);
            }
        }
        // Merged with the next one.
        1 => {
            let after = memory.word(next + 4);
            memory.put(chunk + 4, (size as u32).wrapping_add(after & !7) | flags);
        }
        // Freed, or in use.
        2 => {
            memory.put(chunk + 4, head ^ IN_USE);
            set_flag(&mut memory, next, flags & IN_USE == 0);
            if flags & IN_USE != 0 {
                memory.put(next, size as u32);
            }
        }
        // The end of the segment.
        3 => memory.put(chunk + 4, FENCEPOST),
        // The top chunk, up to a page boundary.
        4 => {
            let foot = [40, 56, 16, 128, 8, 136][random.below(6)];
            let end = (chunk + foot + 16).next_multiple_of(PAGE) + random.below(2) * PAGE;
            memory.put(chunk + 4, (end - foot - chunk) as u32 | flags & PREVIOUS_IN_USE);
            memory.put(end - foot + 4, foot as u32);
        }
        // A segment of its own at the next page: chunks that are copied.
        5 => {
            let to = chunk.next_multiple_of(PAGE) + random.below(2) * 8;
            let length = random.below(64) * 8;
            if chunk.max(to) + length <= memory.bytes.len() {
                memory.bytes.copy_within(chunk..chunk + length, to);
            }
        }
        6 => memory.from = random.below(PAGE) as u32 / 8 * 8,
        7 => {
            let pages = 1 + random.below(MAX_PAGES);
            memory.bytes.resize(pages * PAGE, 0);
        }
        _ => {
            let size = [16, 24, 32, 8, 0, PAGE, size + 8, size.wrapping_sub(8), next][random.below(9)] as u32;
            memory.put(chunk + 4, size & !7 | random.below(8) as u32);
        }
    }
    memory.encode(max_size)
}

/// Sets in the head of a chunk whether the previous chunk is in use.
fn set_flag(memory: &mut Memory, chunk: usize, previous_in_use: bool) {
    let head = memory.word(chunk + 4) & !PREVIOUS_IN_USE;
    memory.put(chunk + 4, head | u32::from(previous_in_use));
}

/// The addresses of the chunks from the first word that is not zero, whatever the flags say.
fn chunks(memory: &Memory) -> Vec<usize> {
    let from = memory.from as usize / 8 * 8;
    let first =
        memory.bytes.get(from..).and_then(|rest| rest.chunks_exact(8).position(|granule| granule[4..] != [0; 4]));
    let mut found: Vec<usize> = Vec::new();
    let mut at = from + 8 * first.unwrap_or(0);
    while at + 8 <= memory.bytes.len() && found.len() < 4_096 {
        found.push(at);
        match memory.word(at + 4) {
            FENCEPOST => at = (at + 8).next_multiple_of(PAGE),
            head if head & !7 == 0 => break,
            head => at = at.saturating_add((head & !7) as usize),
        }
    }
    found
}
