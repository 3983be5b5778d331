//! Planted: a history in a static, in a heap of another build of dlmalloc: Rust's own, with 8 bytes' alignment where
//! wasi-libc's has 16. wasi-libc's is there too, with a heap of its own that hardly anything lies in.
//!
//! Right verdict: leaks 1,200 bytes per request on every outcome. They hang on `HISTORY` and were allocated by
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
