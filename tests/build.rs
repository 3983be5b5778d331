//! Builds the test guests and puts them where `src/lib.rs` finds them.

#[path = "../host/build/guests.rs"]
mod guests;

fn main() {
    guests::build("guests", "test-guests");
}
