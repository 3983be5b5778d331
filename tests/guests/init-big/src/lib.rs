//! Writes a table of 16 MiB in init: represents a plugin with large tables, for the benchmarks of snapshots.

use std::sync::OnceLock;

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

const BYTES: usize = 16 << 20;

static TABLE: OnceLock<Vec<u8>> = OnceLock::new();

struct Big;

export_preprocess!(Big with init);

impl Init for Big {
    fn init() -> Result<(), String> {
        TABLE.set((0..BYTES).map(|index| (index % 251) as u8).collect()).map_err(|_| "init ran twice".into())
    }
}

impl Preprocess for Big {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
