//! Planted: nothing. Each call allocates and frees many blocks of many sizes, like a decoder.
//!
//! Correct verdict: no leak, and no growth at all after the first round. `split_rows` allocates most of the blocks.

use std::hint::black_box;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

/// The maximum number of rows per call.
const ROWS: usize = 200;

struct Steady;

export_preprocess!(Steady);

impl Preprocess for Steady {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let mut rows = split_rows(&body);
        // Every other row is freed first, so that the remaining rows are freed between gaps.
        let mut odd = false;
        rows.retain(|_| {
            odd = !odd;
            odd
        });
        black_box(rows.concat());
        leaks::answer(&body)
    }
}

#[inline(never)]
fn split_rows(body: &[u8]) -> Vec<Vec<u8>> {
    let width = body.len() / ROWS + 1;
    body.chunks(width).enumerate().map(|(row, bytes)| [bytes, &[0].repeat(row)].concat()).collect()
}
