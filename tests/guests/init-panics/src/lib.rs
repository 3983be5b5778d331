//! Panics in init: represents a plugin whose init fails with a trap instead of returning an error.

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

struct Panics;

export_preprocess!(Panics with init);

impl Init for Panics {
    fn init() -> Result<(), String> {
        panic!("init gave up");
    }
}

impl Preprocess for Panics {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
