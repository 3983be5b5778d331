//! Never returns from init: represents a plugin that would block the deployment forever.

use std::hint::black_box;

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

struct Loops;

export_preprocess!(Loops with init);

impl Init for Loops {
    fn init() -> Result<(), String> {
        loop {
            black_box(0);
        }
    }
}

impl Preprocess for Loops {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
