//! Leaves out the linker's last step, in which a core module becomes a component.

fn main() {
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
}
