//! Writes a table in init, of 16 MiB or as many bytes as `bytes` in the configuration says: represents a plugin with large tables,
//! for the benchmarks of snapshots. With `zeros`, the table is zeroed memory that nothing was written to.

use std::sync::OnceLock;

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, config, export_preprocess, tensor};

const BYTES: usize = 16 << 20;

static TABLE: OnceLock<Vec<u8>> = OnceLock::new();

struct Big;

export_preprocess!(Big with init);

impl Init for Big {
    fn init() -> Result<(), String> {
        let bytes = config::parse("bytes", BYTES)?;
        let table = match config::get("zeros") {
            Some(_) => vec![0; bytes],
            None => (0..bytes).map(|index| (index % 251) as u8).collect(),
        };
        TABLE.set(table).map_err(|_| "init ran twice".into())
    }
}

impl Preprocess for Big {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
