//! Planted: a buffer that is forgotten, as if other code had taken ownership and would free it.
//!
//! Correct verdict: leaks 2,000 bytes per request, for every outcome. Nothing refers to them. They were allocated by
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
    // Without `black_box` the compiler may remove the buffer, because nothing reads it.
    let mut pixels = vec![fill; 2_000];
    black_box(pixels.as_mut_ptr());
    mem::forget(pixels);
}
