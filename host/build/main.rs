//! Builds the shipped plugins and puts them where `src/plugin/bundled.rs` includes them.

mod guests;

fn main() {
    guests::build("../plugins", "guests");
}
