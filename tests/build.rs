//! Builds the test guests and copies them to the folder in which `src/lib.rs` looks for them.

#[path = "../host/build/guests.rs"]
mod guests;

fn main() {
    guests::build("guests", "test-guests");
    guests::build("leaks", "leak-guests");
    // The C guest is built only if clang is installed. Without it, the test of the C guest prints that it is skipped.
    if std::process::Command::new("clang").arg("--version").output().is_ok() {
        guests::build_with("leaks", "leak-guests", &["-p", "c-guest"]);
    }
}
