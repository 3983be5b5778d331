//! Planted: a linked list in C (`requests.c`) that every request is put at the head of.
//!
//! Right verdict: leaks 900 bytes per request on every outcome. They hang on C's static `requests`, each on the one
//! after it, and were allocated by C's `remember`.

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

unsafe extern "C" {
    /// Keeps the beginning of a body, and gives how many bytes it kept.
    fn remember(body: *const u8, bytes: usize) -> usize;
}

struct CGuest;

export_preprocess!(CGuest);

impl Preprocess for CGuest {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        // SAFETY: C reads no more than these bytes, and keeps a copy only.
        let kept = unsafe { remember(body.as_ptr(), body.len()) };
        if kept == 0 && !body.is_empty() {
            return Err(Failure::Internal("there is no memory for the request".into()));
        }
        leaks::answer(&body)
    }
}
