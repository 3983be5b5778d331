//! The minimal infer stage: returns its inputs as outputs. Benchmarks use it to measure the cost of the host, because
//! the stage itself costs almost nothing.

use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, export_infer};

struct Noop;

export_infer!(Noop);

impl Infer for Noop {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        Ok(inputs)
    }
}
