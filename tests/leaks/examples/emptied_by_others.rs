//! Planted: a list of failures that the next request with an answer empties.
//!
//! Correct verdict: leaks 5,000 bytes per request, for unsupported-media-type only, and only if no other class empties the
//! list. All classes together do not grow. `FAILURES` holds the blocks.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static FAILURES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct EmptiedByOthers;

export_preprocess!(EmptiedByOthers);

impl Preprocess for EmptiedByOthers {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let answer = leaks::answer(&body);
        match &answer {
            Err(Failure::UnsupportedMediaType(_)) => note(&body),
            Ok(_) => FAILURES.lock().expect("a guest has one thread").clear(),
            Err(_) => {}
        }
        answer
    }
}

#[inline(never)]
fn note(body: &[u8]) {
    FAILURES.lock().expect("a guest has one thread").push(vec![body.len() as u8; 5_000]);
}
