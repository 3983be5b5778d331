//! Commands that allocate linear memory, fill it with a pattern, and search it for the pattern of another request.

use std::alloc::{Layout, alloc};
use std::arch::wasm32::memory_size;
use std::hint::black_box;
use std::ptr;

use plimsoll_sdk::Failure;

const BLOCK: usize = 1 << 20;
const PAGE: usize = 1 << 16;

/// The word that `fill` writes, masked with `MASK`, because the memory of a module that did not call `fill` must not
/// contain the word itself.
const HIDDEN: u64 = 0xA5C3_5A3C_DEAD_BEEF ^ MASK;
const MASK: u64 = 0x0123_4567_89AB_CDEF;

/// Allocates `bytes` bytes in blocks of 1 MiB, writes to them and keeps them.
pub fn allocate(bytes: usize) {
    for _ in 0..bytes.div_ceil(BLOCK) {
        black_box(vec![1_u8; BLOCK].leak());
    }
}

/// Allocates `bytes` bytes in blocks of 1 MiB, fills them with the word and keeps them.
pub fn fill(bytes: usize) {
    let word = black_box(HIDDEN) ^ MASK;
    for _ in 0..bytes.div_ceil(BLOCK) {
        black_box(vec![word; BLOCK / size_of::<u64>()].leak());
    }
}

/// Allocates `bytes` bytes in blocks of 1 MiB without writing to them, then searches the whole memory, including those
/// blocks, for the word at every address.
pub fn search(bytes: usize) -> Result<(), Failure> {
    let layout = Layout::from_size_align(BLOCK, 8).expect("a block has a layout");
    for _ in 0..bytes.div_ceil(BLOCK) {
        // SAFETY: the layout has a size greater than 0; the block is only read as bytes, below, and never freed.
        let block = unsafe { alloc(layout) };
        assert!(!black_box(block).is_null(), "no memory for a block");
    }
    let hidden = black_box(HIDDEN);
    let mut window = 0_u64;
    for address in 1..memory_size(0) * PAGE {
        // SAFETY: in WebAssembly every address below the size of the memory can be read, initialised or not, and
        // no other code runs at the same time. Address zero is skipped because it is not a valid pointer in Rust.
        let byte = unsafe { ptr::with_exposed_provenance::<u8>(address).read_volatile() };
        window = window >> 8 | u64::from(byte) << 56;
        if window ^ MASK == hidden {
            return Err(Failure::Internal("found the pattern of another request".into()));
        }
    }
    Ok(())
}
