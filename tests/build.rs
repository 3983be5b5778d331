//! Builds the test guests and puts them where `src/lib.rs` finds them.

#[path = "../host/build/guests.rs"]
mod guests;

fn main() {
    guests::build("guests", "test-guests");
    guests::build("leaks", "leak-guests");
    // The guest in C is built where there is a compiler for it; its test says so where it is missing.
    if std::process::Command::new("clang").arg("--version").output().is_ok() {
        guests::build_with("leaks", "leak-guests", &["-p", "c-guest"]);
    }
}
