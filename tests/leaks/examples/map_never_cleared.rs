//! Planted: a cache with the request id as key. Every id is unique, so no entry is ever read. No entry is ever removed.
//!
//! Correct verdict: leaks for every outcome: per request a value of 300 bytes, the copy of the id (the key), and the
//! growth of the table. All are held by `ANSWERS`; value and key were allocated by `cache_answer`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static ANSWERS: LazyLock<Mutex<HashMap<String, Vec<u8>>>> = LazyLock::new(Mutex::default);

struct MapNeverCleared;

export_preprocess!(MapNeverCleared);

impl Preprocess for MapNeverCleared {
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        cache_answer(&request.id, body.len() as u8);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn cache_answer(id: &str, fill: u8) {
    let answer = vec![fill; 300];
    ANSWERS.lock().expect("a guest has one thread").insert(id.to_owned(), answer);
}
