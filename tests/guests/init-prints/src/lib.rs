//! Init prints a line and writes 16 MiB of a known pattern. Run checks the pattern, overwrites it and prints a line.
//! Tests that the output of init is logged, that every request gets the memory of init unchanged although earlier
//! requests overwrote it, and that printing works after a snapshot.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Init, Prepared, Preprocess, Request, export_preprocess, tensor};

const BYTES: usize = 16 << 20;
const STEP: usize = 4096;

static PATTERN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Prints;

export_preprocess!(Prints with init);

impl Init for Prints {
    fn init() -> Result<(), String> {
        println!("init was here");
        let mut pattern = vec![0; BYTES];
        pattern.iter_mut().step_by(STEP).for_each(|byte| *byte = 7);
        *PATTERN.lock().expect("a guest has one thread") = pattern;
        Ok(())
    }
}

impl Preprocess for Prints {
    fn run(_request: Request, _body: Vec<u8>) -> Result<Prepared, Failure> {
        let mut pattern = PATTERN.lock().expect("a guest has one thread");
        let intact = |(index, &byte): (usize, &u8)| byte == if index % STEP == 0 { 7 } else { 0 };
        if pattern.len() != BYTES || !pattern.iter().enumerate().all(intact) {
            return Err(Failure::Internal("the pattern of init has changed".into()));
        }
        pattern.fill(0xEE);
        println!("run was here");
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
