//! Skips the last step of the linker, which turns the core module into a component.

fn main() {
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
}
