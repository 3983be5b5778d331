//! `cabi_realloc`: the function with which the host allocates arguments in the plugin's memory.
//!
//! On `wasm32-wasip2`, wit-bindgen leaves it to wasi-libc, whose weak `cabi_realloc` takes memory from C's `realloc`.
//! The bindings then free this memory with the plugin's `#[global_allocator]`. With the default allocator both are the
//! same heap. With another one, each body is freed by an allocator that did not allocate it: the body leaks, or the
//! heap is corrupted. The strong symbol of this module takes precedence over the weak ones and uses the plugin's
//! allocator.
//!
//! This is the SDK's only module with `unsafe`.

#![allow(unsafe_code, reason = "the canonical ABI finds the function by its exported name and passes raw pointers")]

use std::alloc::{Layout, alloc, handle_alloc_error, realloc};
use std::ptr;

/// Allocates `new_len` bytes with the alignment `align`, or moves a block of `old_len` bytes to a block of `new_len`
/// bytes. Returns its address; for `new_len` 0 an address that is never accessed. It traps if there is no memory.
/// Defined by the canonical ABI (`realloc` in the component model's `CanonicalABI.md`).
///
/// # Safety
/// The caller is the host or WASI's adapter, which follow the canonical ABI: `align` is a power of two, and either
/// `old_len` is 0, or an earlier call returned `old_ptr` for `old_len` bytes with the same alignment.
///
/// The exported name: every other definition that the linker meets (wasi-libc's, wit-bindgen's) is weak. If a plugin
/// defines its own strong function with this name, the linker reports a duplicate symbol.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old_ptr: *mut u8, old_len: usize, align: usize, new_len: usize) -> *mut u8 {
    if new_len == 0 {
        return ptr::without_provenance_mut(align);
    }
    // SAFETY: the alignment is a power of two, and both lengths are lengths of a 32-bit memory's values, which the host
    // checks against the size of the memory. The allocator gets the layout with which the block was allocated.
    unsafe {
        let layout = Layout::from_size_align_unchecked(new_len, align);
        let block = if old_len == 0 {
            alloc(layout)
        } else {
            realloc(old_ptr, Layout::from_size_align_unchecked(old_len, align), new_len)
        };
        if block.is_null() {
            handle_alloc_error(layout);
        }
        block
    }
}
