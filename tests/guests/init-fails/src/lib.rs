//! Returns an error from init: represents a plugin whose files or configuration are wrong.

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

struct Refuses;

export_preprocess!(Refuses with init);

impl Init for Refuses {
    fn init() -> Result<(), String> {
        Err("the weights are missing".into())
    }
}

impl Preprocess for Refuses {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
