//! A memory of 2 MiB that is declared to have no more.

fn main() {
    println!("cargo::rustc-link-arg=--initial-memory=2097152");
    println!("cargo::rustc-link-arg=--max-memory=2097152");
}
