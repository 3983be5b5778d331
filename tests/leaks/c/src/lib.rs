//! Planted: a linked list in C (`requests.c`). Every request is added at its head.
//!
//! Correct verdict: leaks 900 bytes per request, for every outcome. They are held by C's static `requests` (each node
//! holds the next one) and were allocated by C's `remember`.

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

unsafe extern "C" {
    /// Keeps the beginning of a body and returns the number of bytes kept.
    fn remember(body: *const u8, bytes: usize) -> usize;
}

struct CGuest;

export_preprocess!(CGuest);

impl Preprocess for CGuest {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        // SAFETY: the C function reads only these bytes and keeps only a copy.
        let kept = unsafe { remember(body.as_ptr(), body.len()) };
        if kept == 0 && !body.is_empty() {
            return Err(Failure::Internal("no memory for the request".into()));
        }
        leaks::answer(&body)
    }
}
