//! Planted: a result of 300 bytes for each image, by its decoded contents: here the byte in its middle.
//!
//! Correct verdict: suspicion. Each image leaves a block in the first round and none later. `RESULTS` holds them.

use std::collections::HashMap;
use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static RESULTS: Mutex<Option<HashMap<u8, Vec<u8>>>> = Mutex::new(None);

struct DecodedCache;

export_preprocess!(DecodedCache);

impl Preprocess for DecodedCache {
    fn run(_: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let pixel = body.get(body.len() / 2).copied().unwrap_or_default();
        keep_result(pixel);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn keep_result(pixel: u8) {
    let mut results = RESULTS.lock().expect("no thread panics");
    results.get_or_insert_default().entry(pixel).or_insert_with(|| vec![pixel; 300]);
}
