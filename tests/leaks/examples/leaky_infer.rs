//! Planted: an infer stage that keeps a summary of every request and returns its inputs as outputs.
//!
//! Correct verdict: leaks 640 bytes per request, in every class that reaches inference. They are held by `SUMMARIES`
//! and were allocated by `keep_summary`.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, export_infer};

static SUMMARIES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct LeakyInfer;

export_infer!(LeakyInfer);

impl Infer for LeakyInfer {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        keep_summary(&inputs);
        Ok(inputs)
    }
}

#[inline(never)]
fn keep_summary(inputs: &[NamedTensor]) {
    let summary = vec![inputs.len() as u8; 640];
    SUMMARIES.lock().expect("a guest has one thread").push(summary);
}
