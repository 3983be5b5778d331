//! A core module instead of a component. It contains wit-bindgen's description of its interface, with which the host
//! converts it to a component.

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess, tensor};

struct CoreModule;

export_preprocess!(CoreModule);

impl Preprocess for CoreModule {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
