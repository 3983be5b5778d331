//! Planted: a history in a static to which every request adds and from which nothing is removed.
//!
//! Correct verdict: leaks 1,000 bytes per request, for every outcome. They are held by `HISTORY` and were allocated by
//! `remember_request`.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static HISTORY: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct StaticVec;

export_preprocess!(StaticVec);

impl Preprocess for StaticVec {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        remember_request(&body);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn remember_request(body: &[u8]) {
    let record = vec![body.len() as u8; 1_000];
    HISTORY.lock().expect("a guest has one thread").push(record);
}
