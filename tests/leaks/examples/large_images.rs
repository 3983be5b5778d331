//! Planted: a preview of every large body is kept, whatever its format.
//!
//! Correct verdict: leaks 10,000 bytes per body of more than 100,000 bytes, in each class with such bodies, and nothing
//! in the others. They are held by `PREVIEWS` and were allocated by `make_preview`.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

const LARGE: usize = 100_000;

static PREVIEWS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct LargeImages;

export_preprocess!(LargeImages);

impl Preprocess for LargeImages {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        if body.len() > LARGE {
            let preview = make_preview(&body);
            PREVIEWS.lock().expect("a guest has one thread").push(preview);
        }
        leaks::answer(&body)
    }
}

/// Ten thousand bytes of the body, at equal distances.
#[inline(never)]
fn make_preview(body: &[u8]) -> Vec<u8> {
    let mut preview = vec![0; 10_000];
    for (byte, from) in preview.iter_mut().zip(body.iter().step_by(body.len() / 10_000)) {
        *byte = *from;
    }
    preview
}
