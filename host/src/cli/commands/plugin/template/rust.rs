//! The crate of a new plugin in Rust.

use std::path::PathBuf;

use plimsoll_runtime::kind::StageKind;

use super::{COPY, Parts, copied, template};
use crate::cli::commands::plugin::sdk;

/// The parts of a crate that depends on a copy of the SDK, or on the SDK in the folder `sdk`.
pub(super) fn parts(kind: StageKind, sdk: Option<&str>) -> Parts {
    const TEST: &str = "`cargo test` runs the tests of `src/compute.rs` on this machine, without a host.\n\n";
    let (sources, dependencies, test): (&[_], _, _) = match kind {
        StageKind::Preprocess => (
            &[
                ("src/lib.rs", template!("rust/preprocess/lib.rs")),
                ("src/compute.rs", template!("rust/preprocess/compute.rs")),
            ],
            "",
            TEST,
        ),
        // An infer plugin only calls the host, so there is nothing to test without a host.
        StageKind::Infer => (&[("src/lib.rs", template!("rust/infer/lib.rs"))], "", ""),
        StageKind::Transform => (
            &[
                ("src/lib.rs", template!("rust/transform/lib.rs")),
                ("src/compute.rs", template!("rust/transform/compute.rs")),
            ],
            "",
            TEST,
        ),
        StageKind::Postprocess => (
            &[
                ("src/lib.rs", template!("rust/postprocess/lib.rs")),
                ("src/compute.rs", template!("rust/postprocess/compute.rs")),
            ],
            "serde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"\n",
            TEST,
        ),
    };
    let dependency = sdk.map_or_else(|| format!("{COPY}/{}", sdk::FOLDER), str::to_owned);
    let manifests =
        [("Cargo.toml", template!("rust/crate.toml")), ("rust-toolchain.toml", template!("rust/toolchain.toml"))];
    let shared = [(".cargo/config.toml", sdk::CARGO_CONFIG), ("Cargo.lock", sdk::LOCK)];
    let shared = shared.into_iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()));
    let copy = sdk.is_none().then(|| sdk::rust().map(|(path, text)| copied(path, &text)));
    Parts {
        sources: sources.iter().copied().chain(manifests).collect(),
        copied: shared.chain(copy.into_iter().flatten()).collect(),
        words: vec![
            // Written as a TOML string, because a path may contain characters such as quotes.
            ("sdk", toml::Value::from(dependency).to_string()),
            ("dependencies", dependencies.to_owned()),
            ("profile", sdk::profile().trim_end().to_owned()),
            ("channel", sdk::channel()),
        ],
        build: template!("rust/build.md"),
        test,
        sdk: template!("rust/sdk.md"),
    }
}
