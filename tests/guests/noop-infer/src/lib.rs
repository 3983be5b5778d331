//! The least that an infer stage can do: its inputs are its outputs. It stands for no misbehaviour; what
//! a request costs with it is what the host costs.

use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, export_infer};

struct Noop;

export_infer!(Noop);

impl Infer for Noop {
    fn run(_request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        Ok(inputs)
    }
}
