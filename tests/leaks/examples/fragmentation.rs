//! Planted: fragmentation. Every sixteenth call reads two keys, each into a buffer of 64 KiB that is then shrunk to the
//! 24 bytes of the key. Both keys are kept, one at each end of the former first buffer, so the gap between them is a
//! little too small for every later buffer.
//!
//! Correct verdict: no leak. Linear memory grows by 64 KiB every sixteenth call, for the first 8,192 calls. The number
//! of live bytes is constant from the first call on, because the ring of keys is full and each new key replaces the
//! oldest key. `KEYS` holds the keys; `read_key` and `fill_ring` allocated them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

/// All keys together are smaller than one buffer, so the space of removed keys never fits a buffer.
const KEYS_KEPT: usize = 1_024;
const KEY: usize = 24;
const BUFFER: usize = 64 << 10;
const CALLS_PER_PAIR: usize = 16;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static KEYS: LazyLock<Mutex<VecDeque<Vec<u8>>>> = LazyLock::new(|| Mutex::new(fill_ring()));

struct Fragmentation;

export_preprocess!(Fragmentation);

impl Preprocess for Fragmentation {
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let answer = leaks::answer(&body);
        let fill = body.len() as u8;
        // The request is dropped first. If it were freed later, it would leave a larger gap.
        drop((request, body));
        let mut keys = KEYS.lock().expect("a guest has one thread");
        if CALLS.fetch_add(1, Relaxed).is_multiple_of(CALLS_PER_PAIR) {
            let mut pair = [read_key(fill), read_key(fill)];
            for key in &mut pair {
                key.shrink_to_fit();
            }
            keys.drain(..pair.len());
            keys.extend(pair);
        }
        answer
    }
}

#[inline(never)]
fn read_key(fill: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(BUFFER);
    key.resize(KEY, fill);
    key
}

#[inline(never)]
fn fill_ring() -> VecDeque<Vec<u8>> {
    (0..KEYS_KEPT).map(|_| vec![0; KEY]).collect()
}
