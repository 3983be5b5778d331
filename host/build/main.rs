//! Builds the shipped plugins and puts them where `src/base/bundled.rs` includes them, and the gRPC service.

mod guests;
mod proto;

fn main() {
    proto::build();
    guests::build("../plugins", "guests");
}
