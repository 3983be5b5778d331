//! Planted: a postprocess stage that keeps its replies: 2,048 bytes followed by the context, in one block. It replies
//! with JSON.
//!
//! Correct verdict: leaks 2,048 bytes plus the length of the context per request, in every class that reaches
//! postprocessing. They are held by `ANSWERED` and were allocated by `keep_answer`.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Reply, Request, export_postprocess};

static ANSWERED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct LeakyPostprocess;

export_postprocess!(LeakyPostprocess);

impl Postprocess for LeakyPostprocess {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        keep_answer(&context);
        let body = format!(r#"{{"tensors":{},"context_bytes":{}}}"#, outputs.len(), context.len()).into_bytes();
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

#[inline(never)]
fn keep_answer(context: &[u8]) {
    let answer = [&[b' '; 2_048], context].concat();
    ANSWERED.lock().expect("a guest has one thread").push(answer);
}
