//! Planted: an infer stage that keeps a summary of every request and returns its inputs as outputs.
//!
//! Correct verdict: leaks 640 bytes per request, in every class that reaches inference. They are held by `SUMMARIES`
//! and were allocated by `keep_summary`.
//!
//! With the parameter `keep=contents` it keeps the contents of tensors that it has not seen before instead: leaks 256 bytes
//! (a tensor of 64 f32) per request, but only with other contents in each call. They are held by `SEEN`.

use std::collections::HashSet;
use std::sync::Mutex;

use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, export_infer};

static SUMMARIES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static SEEN: Mutex<Option<HashSet<Vec<u8>>>> = Mutex::new(None);

struct LeakyInfer;

export_infer!(LeakyInfer);

impl Infer for LeakyInfer {
    fn run(request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        if request.parameters.iter().any(|(name, value)| name == "keep" && value == "contents") {
            let mut seen = SEEN.lock().expect("a guest has one thread");
            seen.get_or_insert_default().extend(inputs.iter().map(|(_, tensor)| tensor.data()));
        } else {
            keep_summary(&inputs);
        }
        Ok(inputs)
    }
}

#[inline(never)]
fn keep_summary(inputs: &[NamedTensor]) {
    let summary = vec![inputs.len() as u8; 640];
    SUMMARIES.lock().expect("a guest has one thread").push(summary);
}
