//! Builds the bundled plugins, which `src/base/bundled.rs` includes, and generates the gRPC service.

mod guests;
mod proto;

fn main() {
    proto::build();
    guests::build_shipped("../plugins", "guests");
}
