//! The minimal preprocess stage: returns one tensor `image` of four bytes. Benchmarks use it to measure the cost of the
//! host, because the stage itself costs almost nothing.

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess, tensor};

struct Noop;

export_preprocess!(Noop);

impl Preprocess for Noop {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        Ok(Prepared { tensors: vec![("image".into(), tensor::from_u8(&[4], &[0; 4]))], context: Vec::new() })
    }
}
