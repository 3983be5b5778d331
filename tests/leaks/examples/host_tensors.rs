//! Planted: a tensor whose handle is forgotten. Its bytes lie in the host, which holds them for the guest until the
//! handle is dropped; linear memory shows nothing.
//!
//! Right verdict: leaks 4,096 bytes of tensors per request on every outcome, in the host. No static holds them, and
//! no allocation of the guest made them: `make_thumbnail` did.

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
