//! Planted: the first 1,000 bytes of the last 32 images. The contents change with every call; the size is constant once
//! the queue is full.
//!
//! Correct verdict: no leak. `RECENT` holds the beginnings; `keep_beginning` allocated them.

use std::collections::VecDeque;
use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

const ENTRIES: usize = 32;
const ENTRY: usize = 1_000;

static RECENT: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());

struct LruBounded;

export_preprocess!(LruBounded);

impl Preprocess for LruBounded {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        keep_beginning(&body);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn keep_beginning(body: &[u8]) {
    let mut recent = RECENT.lock().expect("a guest has one thread");
    if recent.len() == ENTRIES {
        recent.pop_front();
    }
    recent.push_back(body[..body.len().min(ENTRY)].to_vec());
}
