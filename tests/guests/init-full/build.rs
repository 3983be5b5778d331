//! A linear memory of 2 MiB whose declared maximum is also 2 MiB.

fn main() {
    println!("cargo::rustc-link-arg=--initial-memory=2097152");
    println!("cargo::rustc-link-arg=--max-memory=2097152");
}
