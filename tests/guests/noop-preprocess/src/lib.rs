//! The least that a preprocess stage can do: one tensor `image` of four bytes. It stands for no
//! misbehaviour; what a request costs with it is what the host costs.

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess, tensor};

struct Noop;

export_preprocess!(Noop);

impl Preprocess for Noop {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        Ok(Prepared { tensors: vec![("image".into(), tensor::from_u8(&[4], &[0; 4]))], context: Vec::new() })
    }
}
