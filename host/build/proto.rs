//! Generates the gRPC service of `proto/` with a compiler in Rust, so that `protoc` is not needed.

use std::path::PathBuf;
use std::{env, fs};

const PROTO: &str = "proto/open_inference.proto";

/// Writes `inference.rs`, and the descriptor that reflection serves, to `OUT_DIR`.
pub(crate) fn build() {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptor = protox::compile([PROTO], ["proto"]).unwrap_or_else(|error| panic!("{PROTO}: {error}"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("inference.bin"), prost::Message::encode_to_vec(&descriptor)).expect("OUT_DIR is writable");
    tonic_prost_build::configure()
        .bytes(".")
        // This codec counts the parts of messages before it decodes them; see its documentation.
        .codec_path("crate::serve::grpc::codec::Counted")
        .compile_fds(descriptor)
        .unwrap_or_else(|error| panic!("{PROTO}: {error}"));
}
