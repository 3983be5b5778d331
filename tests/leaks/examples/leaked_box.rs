//! Planted: settings that `Box::leak` makes `'static`. That is fine if it happens once, but here every request does it
//! and drops the reference.
//!
//! Correct verdict: leaks 4,096 bytes per request, for every outcome. Nothing refers to them. They were allocated by
//! `static_settings`.

use std::hint::black_box;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

struct LeakedBox;

export_preprocess!(LeakedBox);

impl Preprocess for LeakedBox {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let settings = static_settings(body.len() as u8);
        assert_eq!(settings[0], settings[4_095]);
        leaks::answer(&body)
    }
}

#[inline(never)]
fn static_settings(fill: u8) -> &'static [u8; 4_096] {
    black_box(Box::leak(Box::new([fill; 4_096])))
}
