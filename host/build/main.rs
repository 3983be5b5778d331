//! Builds the bundled plugins, which `src/base/bundled.rs` includes, generates the gRPC service, and exports the
//! version of the engine.

mod guests;
mod proto;
mod versions;

fn main() {
    proto::build();
    versions::export();
    guests::build_shipped("../plugins", "guests");
}
