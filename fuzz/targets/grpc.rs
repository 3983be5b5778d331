//! Any bytes as a message of the gRPC service.
#![no_main]

mod tensors;

use libfuzzer_sys::fuzz_target;
use plimsoll::serve::grpc::read_message;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = read_message(bytes) {
        tensors::check(&request);
    }
});
