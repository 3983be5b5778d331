//! Models in an OCI registry: pulled by their digests, stored in the data folder, and verified whenever they are read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{data, shared_cache};
use rten_onnx::onnx::DataType;

use crate::batching;
use crate::docker_registry::Registry;
use crate::process::{BINARY, Process, Setup};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.empty.v1+json";

fn digits() -> &'static [u8] {
    plimsoll::base::bundled::file("digits.onnx").expect("bundled")
}

/// Uploads a model as `oras push` does. Returns its reference with the digest of the manifest.
async fn push(registry: &Registry, name: &str, files: &[(&str, &[u8])]) -> String {
    let layers: Vec<_> = files.iter().map(|(_, bytes)| (LAYER, *bytes)).collect();
    let titles: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    let digest = registry.put_titled(name, "1", CONFIG, &layers, &titles).await;
    format!("oci://{}/{name}:1@{digest}", registry.address)
}

/// A folder with a pipeline `p` whose model is `reference`.
fn setup(reference: &str) -> Setup {
    let text = format!("cache_dir = {:?}\n[server]\ndrain = \"0s\"\n", shared_cache());
    Setup::with(&(text + &batching::config(&format!("file = {reference:?}"))))
}

fn models(setup: &Setup) -> Vec<PathBuf> {
    let mut found: Vec<_> = match fs::read_dir(setup.path(".plimsoll/models")) {
        Ok(entries) => entries.map(|entry| entry.expect("an entry").path()).collect(),
        Err(_) => Vec::new(),
    };
    found.sort();
    found
}

async fn recognises(process: &Process) {
    let body = fs::read(data("digits/4.png")).expect("a digit");
    let url = format!("{}/v1/pipelines/p/infer", process.url());
    let reply = reqwest::Client::new().post(url).body(body).send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    let reply: serde_json::Value = serde_json::from_str(&reply.text().await.expect("text")).expect("JSON");
    assert_eq!(reply["predictions"][0]["label"], "4", "{reply}");
}

fn check(setup: &Setup) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(["check", "--config", &setup.path("plimsoll.toml")]).output();
    let output = output.expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_once_and_served_again_without_the_registry() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, "team/digits", &[("net/digits.onnx", digits())]).await;
    let setup = setup(&reference);
    let mut process = setup.serve();
    process.wait_for(&format!("pulling {reference}"));
    recognises(&process).await;
    let [stored] = models(&setup).try_into().expect("one model");
    let hex = reference.rsplit("sha256:").next().expect("a digest");
    assert!(stored.ends_with(hex), "{}", stored.display());
    let file = stored.join("files/net/digits.onnx");
    assert_eq!(fs::read(&file).expect("stored"), digits());
    for (path, mode) in [(&stored, 0o700), (&file, 0o600)] {
        let found = fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));

    drop(registry);
    let process = setup.serve();
    recognises(&process).await;
    assert!(!process.wait_for("listening on").contains("pulling"));
    drop(process);

    // What is changed on the disk does not serve.
    let mut bytes = digits().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).expect("written");
    let (code, text) = check(&setup);
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("models.m: file: ") && text.contains("is not what the registry sent"), "{text}");
    assert!(text.contains(&format!("remove the folder {}", stored.display())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_pulls_a_model_with_its_weights_and_a_start_removes_others() {
    let Some(registry) = Registry::start() else { return };
    let shape = [Some(1), Some(2)];
    let model = Onnx::new(13).input("x", &shape).stored("w", &[1], DataType::FLOAT, "w/big.data");
    let model = model.node("Add", &["x", "w"], "y", &[]).output("y", &shape).bytes();
    let weights = 1.0_f32.to_le_bytes();
    let files: [(&str, &[u8]); 3] = [("big.onnx", &model), ("w/big.data", &weights), ("README.md", b"# Big")];
    let reference = push(&registry, "big", &files).await;
    let other = push(&registry, "digits", &[("digits.onnx", digits())]).await;
    let setup = setup(&other);
    let (code, text) = check(&setup);
    assert_eq!(code, Some(0), "{text}");
    let digits_only = models(&setup);
    assert_eq!(digits_only.len(), 1);

    let config = fs::read_to_string(setup.path("plimsoll.toml")).expect("text");
    let both = config + &format!("[models.big]\nfile = {reference:?}\n");
    fs::write(setup.path("plimsoll.toml"), &both).expect("written");
    let (code, text) = check(&setup);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(models(&setup).len(), 2);

    // A server keeps what its configuration names.
    fs::write(setup.path("plimsoll.toml"), both.split("[models.big]").next().expect("the rest")).expect("written");
    let process = setup.serve();
    recognises(&process).await;
    assert_eq!(models(&setup), digits_only);

    // And pulls what a new configuration names.
    fs::write(setup.path("plimsoll.toml"), &both).expect("written");
    process.signal("-HUP");
    process.wait_for("action=\"reload\"");
    assert_eq!(models(&setup).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_differs_from_its_digests_or_has_none_is_refused() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, "digits", &[("digits.onnx", digits())]).await;
    let (tagged, pinned) = reference.split_once('@').expect("a digest");
    let refused = |reference: &str| {
        let setup = setup(reference);
        let (code, text) = check(&setup);
        assert_eq!(code, Some(64), "{reference}: {text}");
        assert!(models(&setup).is_empty(), "{reference}");
        text
    };
    let text = refused(tagged);
    assert!(text.contains("models.m.file") && text.contains("has no digest"), "{text}");
    let wrong = format!("{tagged}@sha256:{}", "0".repeat(64));
    let text = refused(&wrong);
    assert!(text.contains(&"0".repeat(64)) && text.contains(pinned), "{text}");
    for (name, files, part) in [
        ("outside", vec![("../digits.onnx", digits())], "is not a plain relative path"),
        ("two", vec![("a.onnx", digits()), ("b.onnx", b"x")], "2 files that end with `.onnx`"),
    ] {
        let reference = push(&registry, name, &files).await;
        let text = refused(&reference);
        assert!(text.contains(part), "{text}");
    }
    // The size is that of the manifest. Nothing is written before.
    let small = setup(&reference);
    let text = fs::read_to_string(small.path("plimsoll.toml")).expect("written") + "[deploy]\nmax_model = \"2KiB\"\n";
    fs::write(small.path("plimsoll.toml"), text).expect("written");
    let (code, text) = check(&small);
    assert_eq!((code, models(&small).len()), (Some(64), 0), "{text}");
    assert!(text.contains("2048 are allowed (`deploy.max_model`)"), "{text}");
    // The registry sends other bytes than the manifest declares.
    fs::write(registry.file(&digest(digits())), vec![7; digits().len()]).expect("written");
    let text = refused(&reference);
    assert!(text.contains(&digest(digits())), "{text}");
}
