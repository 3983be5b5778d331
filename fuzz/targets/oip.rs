//! Any bytes as the body of an inference request of the Open Inference Protocol. The first two bytes are the length of
//! the JSON before the binary part; 65,535 stands for a body without one.
#![no_main]

mod tensors;

use libfuzzer_sys::fuzz_target;
use plimsoll::serve::http::read_oip_body;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, body)) = bytes.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let header = (length != usize::from(u16::MAX)).then_some(length.min(body.len()));
    if let Ok(request) = read_oip_body(body.to_vec().into(), header, 1 << 20) {
        tensors::check(&request);
    }
});
