//! Planted: a log in memory to which every request appends a line of 100 bytes. It is one block that doubles when it is
//! full. Between two doublings no growth is visible.
//!
//! Correct verdict: leaks for every outcome, 100 bytes per request in the long run, in steps that double. The block is
//! held by `LOG` and was allocated by `append_line`.

use std::io::Write;
use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct GrowingLog;

export_preprocess!(GrowingLog);

impl Preprocess for GrowingLog {
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        append_line(&request.id, body.len());
        leaks::answer(&body)
    }
}

#[inline(never)]
fn append_line(id: &str, bytes: usize) {
    let mut log = LOG.lock().expect("a guest has one thread");
    writeln!(log, "{id:<60.60}{bytes:>39}").expect("writing to a vector never fails");
}
