//! Planted: a history in a static, in the heap of another build of dlmalloc: the Rust crate, with an alignment of 8
//! bytes instead of wasi-libc's 16. The dlmalloc of wasi-libc is also present, with its own, almost empty heap.
//!
//! Correct verdict: leaks 1,200 bytes per request, for every outcome. They are held by `HISTORY` and were allocated by
//! `remember_request`.

use std::sync::Mutex;

use dlmalloc::GlobalDlmalloc;
use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

static HISTORY: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct RustDlmalloc;

export_preprocess!(RustDlmalloc);

impl Preprocess for RustDlmalloc {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        remember_request(&body);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn remember_request(body: &[u8]) {
    let record = vec![body.len() as u8; 1_200];
    HISTORY.lock().expect("a guest has one thread").push(record);
}
