//! Planted: every body of an unknown format is recorded for a report that is never read.
//!
//! Correct verdict: leaks 5,000 bytes per request, for unsupported-media-type only. They are held by `UNKNOWN_KINDS`
//! and were allocated by `note_unknown_kind`.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static UNKNOWN_KINDS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct OneOutcome;

export_preprocess!(OneOutcome);

impl Preprocess for OneOutcome {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let answer = leaks::answer(&body);
        if matches!(answer, Err(Failure::UnsupportedMediaType(_))) {
            note_unknown_kind(&body);
        }
        answer
    }
}

#[inline(never)]
fn note_unknown_kind(body: &[u8]) {
    let note = vec![body.len() as u8; 5_000];
    UNKNOWN_KINDS.lock().expect("a guest has one thread").push(note);
}
