//! Planted: a tensor whose handle is forgotten. The host stores its bytes for the guest until the handle is dropped, so
//! linear memory shows nothing.
//!
//! Correct verdict: leaks 4,096 bytes of tensors per request in the host, for every outcome. No static holds them and
//! no allocation of the guest contains them; `make_thumbnail` created the tensors.

use std::mem;

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, Tensor, export_preprocess, tensor};

struct HostTensors;

export_preprocess!(HostTensors);

impl Preprocess for HostTensors {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        mem::forget(make_thumbnail(body.len() as u8));
        leaks::answer(&body)
    }
}

#[inline(never)]
fn make_thumbnail(fill: u8) -> Tensor {
    tensor::from_u8(&[1, 1, 64, 64], &[fill; 64 * 64])
}
