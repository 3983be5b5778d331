//! Planted: a buffer that is handed over to nobody: forgotten as if someone else would free it.
//!
//! Right verdict: leaks 2,000 bytes per request on every outcome. Nothing refers to them. They were allocated by
//! `hand_over_pixels`.

use std::hint::black_box;
use std::mem;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

struct Forget;

export_preprocess!(Forget);

impl Preprocess for Forget {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        hand_over_pixels(body.len() as u8);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn hand_over_pixels(fill: u8) {
    // A buffer that nothing could ever read is one that the compiler may leave out.
    let mut pixels = vec![fill; 2_000];
    black_box(pixels.as_mut_ptr());
    mem::forget(pixels);
}
