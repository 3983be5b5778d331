//! Has an init and a linear memory at its declared maximum, which cannot grow.

use std::sync::OnceLock;

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

static TABLE: OnceLock<Vec<u8>> = OnceLock::new();

struct Full;

export_preprocess!(Full with init);

impl Init for Full {
    fn init() -> Result<(), String> {
        TABLE.set(vec![7; 4096]).map_err(|_| "init ran twice".into())
    }
}

impl Preprocess for Full {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        if TABLE.get().is_none_or(|table| table.iter().any(|&byte| byte != 7)) {
            return Err(Failure::Internal("init did not run".into()));
        }
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
