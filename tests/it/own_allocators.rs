//! Plugins with another `#[global_allocator]` answer, in every profile: the host allocates arguments with the plugin's
//! own allocator.

use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::{Server, guest};

use crate::leak::{Laboratory, corpus, text};

const ALLOCATORS: [&str; 3] = ["own_dlmalloc", "own_lol", "own_talc"];

/// The profiles: the two of cargo, and one as `plimsoll plugin new` writes it, in which the crates are linked as one.
const PROFILES: [&str; 3] = ["dev", "release", "linked"];

/// Builds the guests in a profile. Returns the folder of their components.
fn build(profile: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-allocator");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--package", "own-allocator", "--examples", "--target", "wasm32-wasip2"])
        .args(["--config", "profile.linked.inherits='release'", "--config", "profile.linked.lto='fat'"])
        .args(["--profile", profile, "--target-dir"])
        .arg(&target);
    for variable in crate::plugin_new::OUTER_BUILD {
        cargo.env_remove(variable);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{profile}: {}", text(&output.stderr));
    target.join("wasm32-wasip2").join(if profile == "dev" { "debug" } else { profile }).join("examples")
}

/// A configuration with one pipeline for each allocator.
fn config(folder: &Path) -> String {
    let mut config = String::new();
    for name in ["echo-infer", "echo-postprocess"] {
        config += &format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    }
    for name in ALLOCATORS {
        config += &format!(
            "[plugins.{name}]\nfile = {:?}\n[pipelines.{name}.preprocess]\nplugin = \"{name}\"\n\
             [pipelines.{name}.chips.echo]\nplugin = \"echo-infer\"\n\
             [pipelines.{name}.postprocess]\nplugin = \"echo-postprocess\"\n",
            folder.join(format!("{name}.wasm")),
        );
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_with_other_allocators_answer_in_every_profile() {
    for profile in PROFILES {
        let folder = build(profile);
        let server = Server::start(&config(&folder)).await;
        for name in ALLOCATORS {
            for size in [0, 1, 63, 4_096, 70_000, 1_000_000] {
                let body: Vec<u8> = (0..size).map(|at| b'a' + (at % 23) as u8).collect();
                let reply = server.infer(name, "?post=carry", body.clone()).await;
                assert_eq!(reply.status, 200, "{profile}, {name}, {size} bytes: {}", reply.text);
                assert!(reply.text.as_bytes() == [&body[..], b"carry"].concat(), "{profile}, {name}, {size} bytes");
            }
            let reply = server.infer(name, "", "!no image").await;
            assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"), "{profile}, {name}");
            assert!(reply.text.contains("!no image"), "{profile}, {name}: {}", reply.text);
        }
        server.stop().await;

        // The laboratory runs every file of the corpus eight times in one instance, so a body that is freed by the wrong
        // allocator ends in a leak or a trap.
        let corpus = corpus();
        for name in ALLOCATORS {
            let laboratory = Laboratory::new();
            let plugin = folder.join(format!("{name}.wasm"));
            let output = laboratory.run(&plugin, corpus.path(), &["--no-trace"]);
            let report = laboratory.report();
            assert_eq!(report["excluded"], serde_json::json!([]), "{profile}, {name}: no sample ends the instance");
            assert_ne!(report["all"]["verdict"], "leaks", "{profile}, {name}: {}", text(&output.stdout));
        }
    }
}
