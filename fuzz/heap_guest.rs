//! A guest whose heaps become first inputs of the target `heap`; `heap_seeds.mjs` builds and runs it. wasi-libc's dlmalloc
//! is the same for `wasm32-wasip1` and `wasm32-wasip2`, and a core module is simpler to run.

use std::collections::HashMap;
use std::hint::black_box;

/// Makes a heap: blocks of many sizes of which some are freed (0), a table (1), blocks before and after memory that is not
/// the allocator's (2), one large block (3), a heap in which all is freed (4).
#[no_mangle]
pub extern "C" fn run(kind: u32) {
    let sizes = |count: usize| (0..count).map(|n| vec![1u8; 3 + n * n % 700]);
    match kind {
        0 => {
            let mut blocks: Vec<_> = sizes(60).collect();
            let mut n = 0;
            blocks.retain(|_| {
                n += 1;
                n % 3 != 0
            });
            keep(blocks);
        }
        1 => keep((0..40).map(|n| (n, n.to_string())).collect::<HashMap<_, _>>()),
        2 => {
            keep(sizes(8).collect::<Vec<_>>());
            core::arch::wasm32::memory_grow(0, 1);
            keep(vec![1u8; 100_000]);
            keep(sizes(8).collect::<Vec<_>>());
        }
        3 => keep(vec![1u8; 90_000]),
        _ => drop(black_box(sizes(30).collect::<Vec<_>>())),
    }
}

fn keep<T>(value: T) {
    std::mem::forget(black_box(value));
}
