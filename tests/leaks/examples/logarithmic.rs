//! Planted: a cache that grows more and more slowly. It gets an entry of 256 bytes when the number of calls is a power
//! of two: ten entries after a thousand calls and twenty after a million.
//!
//! Correct verdict: no leak. The verdict "warming up" is also correct.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static CALLS: AtomicU32 = AtomicU32::new(0);
static MILESTONES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct Logarithmic;

export_preprocess!(Logarithmic);

impl Preprocess for Logarithmic {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let call = CALLS.fetch_add(1, Relaxed) + 1;
        if call.is_power_of_two() {
            keep_milestone(&body);
        }
        leaks::answer(&body)
    }
}

#[inline(never)]
fn keep_milestone(body: &[u8]) {
    let entry = vec![body.len() as u8; 256];
    MILESTONES.lock().expect("a guest has one thread").push(entry);
}
