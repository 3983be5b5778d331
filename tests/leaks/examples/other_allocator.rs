//! Planted: a history in a static, in the heap of an allocator (talc) whose blocks `plimsoll leak` cannot read.
//!
//! Correct verdict: leaks 8,000 bytes per request, visible only in linear memory, in pages of 64 KiB, for all classes
//! together. Only the call stacks show that `HISTORY` holds them and that `remember_request` allocated them.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};
use talc::wasm::{WasmDynamicTalc, new_wasm_dynamic_allocator};

#[global_allocator]
static ALLOCATOR: WasmDynamicTalc = new_wasm_dynamic_allocator();

static HISTORY: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct OtherAllocator;

export_preprocess!(OtherAllocator);

impl Preprocess for OtherAllocator {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        remember_request(&body);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn remember_request(body: &[u8]) {
    let record = vec![body.len() as u8; 8_000];
    HISTORY.lock().expect("a guest has one thread").push(record);
}
