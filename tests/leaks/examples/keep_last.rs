//! Planted: a static that keeps only the latest image; the previous image is freed.
//!
//! Correct verdict: no leak, although the size differs after each call. `LATEST` holds the image; `keep_image`
//! allocated it.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static LATEST: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct KeepLast;

export_preprocess!(KeepLast);

impl Preprocess for KeepLast {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        keep_image(&body);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn keep_image(body: &[u8]) {
    *LATEST.lock().expect("a guest has one thread") = body.to_vec();
}
