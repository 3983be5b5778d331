//! Keeps the image of every failed request in a static and never frees it, like the incident with module-level error
//! objects that kept their inputs. If an instance were reused for several requests, its memory would grow with every
//! malformed image, and the bytes of one caller would be in memory during the request of the next caller.

use std::sync::Mutex;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, export_preprocess, tensor};

static FAILED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct Leaker;

export_preprocess!(Leaker);

impl Preprocess for Leaker {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        if !body.starts_with(&[0xFF, 0xD8]) {
            FAILED.lock().expect("a guest has one thread").push(body.clone());
            return Err(Failure::InvalidInput("not a JPEG".into()));
        }
        let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
        Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() })
    }
}
