//! Planted: two tables that are built when they are first needed: one of 1 MiB at the first call, and one of 200 KiB
//! at the first invalid input, which comes late in a corpus of valid images.
//!
//! Correct verdict: no leak. `CURVE` and `REPAIRS` hold the tables; `build_curve` and `build_repairs` allocated them.

use std::hint::black_box;
use std::sync::LazyLock;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess};

static CURVE: LazyLock<Vec<u8>> = LazyLock::new(build_curve);
static REPAIRS: LazyLock<Vec<u8>> = LazyLock::new(build_repairs);

struct OneTime;

export_preprocess!(OneTime);

impl Preprocess for OneTime {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        black_box(CURVE[body.len() % CURVE.len()]);
        let answer = leaks::answer(&body);
        if matches!(answer, Err(Failure::InvalidInput(_))) {
            black_box(REPAIRS[body.len() % REPAIRS.len()]);
        }
        answer
    }
}

#[inline(never)]
fn build_curve() -> Vec<u8> {
    (0..1 << 20).map(|at| (at >> 12) as u8).collect()
}

#[inline(never)]
fn build_repairs() -> Vec<u8> {
    (0..200 << 10).map(|at| at as u8).collect()
}
