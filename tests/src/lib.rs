//! What the integration tests share: test guests, a configuration written to a folder of its own, and a real
//! server on port 0.

pub mod bench;
pub mod bench_support;
pub mod jpeg;
pub mod pairs;

mod server;
mod site;

use std::path::{Path, PathBuf};

pub use server::{Reply, Server};
pub use site::{Site, another_version, stamped, stamped_reply};
pub use tempfile::TempDir;

/// The component of a guest in `tests/guests`, built from source by the build script.
pub fn guest(name: &str) -> PathBuf {
    Path::new(env!("OUT_DIR")).join(format!("{}.wasm", name.replace('-', "_")))
}

/// A file of `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// A folder beside the project (`corpus`, `models`), which not everybody has.
///
/// # Panics
/// When it is missing and `CI` is set; otherwise the reason is printed and the test is skipped by its caller.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing, and CI must not skip", path.display());
    eprintln!("SKIPPED: {} is missing", path.display());
    None
}

/// A configuration of one pipeline `p` over the guests: the given preprocess plugin, then `echo-infer` and
/// `echo-postprocess`. `stage` is added to `[pipelines.p.preprocess]`.
pub fn guests_config(preprocess: &str, stage: &str) -> String {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    format!(
        "{}{}{}[pipelines.p.preprocess]\nplugin = \"{preprocess}\"\n{stage}\n\
         [pipelines.p.chips.echo]\nplugin = \"echo-infer\"\n\
         [pipelines.p.postprocess]\nplugin = \"echo-postprocess\"\n",
        file(preprocess),
        file("echo-infer"),
        file("echo-postprocess"),
    )
}

/// One compiled cache for all tests, for compiling the guests again for each would take most of the time. What is
/// about the cache itself takes its own.
pub fn shared_cache() -> PathBuf {
    Path::new(env!("OUT_DIR")).join("compiled-cache")
}
