//! Commands about linear memory: taking it, marking it, and looking for the marks of another request in it.

use std::alloc::{Layout, alloc};
use std::arch::wasm32::memory_size;
use std::hint::black_box;
use std::ptr;

use plimsoll_sdk::Failure;

const BLOCK: usize = 1 << 20;
const PAGE: usize = 1 << 16;

/// What `fill` writes, as it must never lie in the memory of a module that did not: `MASK` hides it.
const HIDDEN: u64 = 0xA5C3_5A3C_DEAD_BEEF ^ MASK;
const MASK: u64 = 0x0123_4567_89AB_CDEF;

/// Takes `bytes` in touched blocks of 1 MiB, and keeps them.
pub fn take(bytes: usize) {
    for _ in 0..bytes.div_ceil(BLOCK) {
        black_box(vec![1_u8; BLOCK].leak());
    }
}

/// Takes `bytes` in blocks of 1 MiB, writes the word all over them, and keeps them.
pub fn fill(bytes: usize) {
    let word = black_box(HIDDEN) ^ MASK;
    for _ in 0..bytes.div_ceil(BLOCK) {
        black_box(vec![word; BLOCK / size_of::<u64>()].leak());
    }
}

/// Takes `bytes` in blocks of 1 MiB without writing to them, then looks for the word at every address of
/// the whole memory, those blocks included.
pub fn search(bytes: usize) -> Result<(), Failure> {
    let layout = Layout::from_size_align(BLOCK, 8).expect("a block has a layout");
    for _ in 0..bytes.div_ceil(BLOCK) {
        // SAFETY: the layout has a size; the block is only read as bytes, below, and never freed.
        let block = unsafe { alloc(layout) };
        assert!(!black_box(block).is_null(), "there is no memory for a block");
    }
    let hidden = black_box(HIDDEN);
    let mut window = 0_u64;
    for address in 1..memory_size(0) * PAGE {
        // SAFETY: every address below the size of the memory can be read in WebAssembly, initialised or not;
        // nothing else runs meanwhile. The address zero is left out, as it is no pointer in Rust.
        let byte = unsafe { ptr::with_exposed_provenance::<u8>(address).read_volatile() };
        window = window >> 8 | u64::from(byte) << 56;
        if window ^ MASK == hidden {
            return Err(Failure::Internal("found the pattern of another request".into()));
        }
    }
    Ok(())
}
