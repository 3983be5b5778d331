//! Planted: the beginnings of 8 images; a new one replaces one that is chosen at random, so the bytes in use fluctuate.
//!
//! Correct verdict: no leak. `RECENT` holds the beginnings; `keep_beginning` allocated them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

const ENTRIES: usize = 8;

static RECENT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct RandomEviction;

export_preprocess!(RandomEviction);

impl Preprocess for RandomEviction {
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        keep_beginning(&request.id, &body);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn keep_beginning(id: &str, body: &[u8]) {
    let mut recent = RECENT.lock().expect("no thread panics");
    if recent.len() >= ENTRIES {
        // The state of a hash table is random, and different in each instance.
        let random = RandomState::new().hash_one(id);
        recent.swap_remove(random as usize % ENTRIES);
    }
    recent.push(body[..body.len().min(3_000)].to_vec());
}
