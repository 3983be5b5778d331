//! A registry that cannot be asked at a reload or at a start is asked again, until it answers.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, another_version, guest};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::batching;
use crate::watch::lines;
use crate::wrapped::{Wrapped, site, until};

/// An address of this machine at which nothing listens, until a registry does.
struct Place(String);

impl Place {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self(listener.local_addr().expect("bound").to_string())
    }

    /// Starts a registry that has one component under every name.
    async fn start(&self, component: Vec<u8>) {
        let descriptor = descriptor("application/wasm", &component);
        self.start_with(manifest("application/vnd.wasm.config.v0+json", &descriptor), component).await;
    }

    /// As [`Place::start`]. The registry is down again when the result is aborted.
    async fn start_for_a_while(&self, component: Vec<u8>) -> JoinHandle<()> {
        let descriptor = descriptor("application/wasm", &component);
        self.serve(manifest("application/vnd.wasm.config.v0+json", &descriptor), component).await.1
    }

    /// Starts a registry with this manifest and the only layer of it. Returns how often the manifest was asked for.
    async fn start_with(&self, manifest: Vec<u8>, layer: Vec<u8>) -> Arc<AtomicUsize> {
        self.serve(manifest, layer).await.0
    }

    async fn serve(&self, manifest: Vec<u8>, layer: Vec<u8>) -> (Arc<AtomicUsize>, JoinHandle<()>) {
        let listener = TcpListener::bind(&self.0).await.expect("the port is still free");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away ends its connection with an error.
                let _ = answer(stream, &manifest, &layer, &counted).await;
            }
        });
        (asked, task)
    }

    /// The reference of a model at this place, and its manifest.
    fn model(&self, bytes: &[u8]) -> (String, Vec<u8>) {
        let mut layer = descriptor("application/vnd.oci.image.layer.v1.tar", bytes);
        layer["annotations"] = json!({ "org.opencontainers.image.title": "digits.onnx" });
        let manifest = manifest("application/vnd.oci.empty.v1+json", &layer);
        (format!("oci://{}/digits:1@sha256:{}", self.0, digest(&manifest)), manifest)
    }
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() })
}

fn manifest(kind: &str, layer: &Value) -> Vec<u8> {
    json!({ "schemaVersion": 2, "config": descriptor(kind, b"{}"), "layers": [layer] }).to_string().into_bytes()
}

async fn answer(stream: TcpStream, manifest: &[u8], layer: &[u8], asked: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    let body = match () {
        () if first.contains("/blobs/") => layer,
        () if first.contains("/manifests/") => {
            asked.fetch_add(1, Relaxed);
            manifest
        }
        () => &[],
    };
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    stream.shutdown().await
}

/// Makes the configuration name the registry as the source of `noop-infer`, and `more`.
fn configure(site: &Site, place: &Place, more: &str) {
    let text = fs::read_to_string(&site.config).expect("text");
    let noop = format!("file = {:?}", guest("noop-infer"));
    assert!(text.contains(&noop), "{text}");
    plimsoll_tests::replace_file(
        &site.config,
        text.replace(&noop, &format!("file = \"oci://{}/noop:1\"", place.0)) + more,
    )
    .expect("written");
}

fn noop() -> Vec<u8> {
    fs::read(guest("noop-infer")).expect("built")
}

async fn serving(served: &Wrapped, plugin: &str) -> (String, String) {
    let (_, shown) = served.json("GET", &format!("/v1/plugins/{plugin}"), Vec::new()).await;
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    (text("digest"), text("note"))
}

/// The version before serves meanwhile. The same after a start.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_with_a_version_before_is_pulled_when_its_registry_is_back() {
    let (site, place) = (site(""), Place::new().await);
    let served = Wrapped::start(&["env"], &site);
    configure(&site, &place, "");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    let (before, note) = serving(&served, "noop-infer").await;
    assert_eq!(before, digest(&noop()));
    assert!(note.contains("the registry is asked again") && note.contains("refused the connection"), "{note}");
    assert_eq!(served.metric("plimsoll_config_reloads_total{result=\"served\"}").await, 1);
    // The log is written by a thread of its own.
    until("the log", async || lines(&served, &place.0, "it is tried again") > 0).await;
    assert_eq!(lines(&served, &place.0, "it is tried again"), 1, "{}", served.log());
    drop(served);

    let served = Wrapped::start(&["env"], &site);
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    let new = another_version(&noop(), 2);
    place.start(new.clone()).await;
    until("the new version", async || serving(&served, "noop-infer").await == (digest(&new), String::new())).await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    for (one, other) in [(&*place.0, "this problem is over"), ("\"by\":\"registry\"", "serving after")] {
        until(other, async || lines(&served, one, other) > 0).await;
        assert_eq!(lines(&served, one, other), 1, "{}", served.log());
    }
}

/// Without a version before, the configuration waits, and the one before it serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_new_plugin_is_served_when_its_registry_is_back() {
    let (site, place) = (site(""), Place::new().await);
    let served = Wrapped::start(&["env"], &site);
    let more = format!(
        "[plugins.other]\nfile = \"oci://{}/other:1\"\n[pipelines.q.preprocess]\nplugin = \"stamp\"\n\
         [pipelines.q.chips.c]\nplugin = \"other\"\n[pipelines.q.postprocess]\nplugin = \"stamp\"\n",
        place.0
    );
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text + &more).expect("written");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(served.metric("plimsoll_config_reloads_total{result=\"refused\"}").await, 0);
    assert_eq!(lines(&served, "plimsoll.toml", "it is tried again"), 1, "{}", served.log());
    assert_eq!(served.send("POST", "/v1/pipelines/q/infer", Vec::new()).await.0, 404);
    place.start(noop()).await;
    until("the configuration", async || served.send("POST", "/v1/pipelines/q/infer", Vec::new()).await.0 == 200).await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    assert_eq!(serving(&served, "other").await.0, digest(&noop()));
}

/// A later change of the plugin takes precedence over a reference that could not be pulled.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_takes_precedence_over_a_reference_that_waits() {
    let (site, place) = (site(""), Place::new().await);
    let served = Wrapped::start(&["env"], &site);
    configure(&site, &place, "");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    let uploaded = another_version(&noop(), 3);
    let (status, text) = served.send("PUT", "/v1/plugins/noop-infer?version=3", uploaded.clone()).await;
    assert_eq!(status, 200, "{text}");
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    place.start(another_version(&noop(), 2)).await;
    served.wait_for_scan(&site, "scan").await;
    assert_eq!(serving(&served, "noop-infer").await, (digest(&uploaded), String::new()));
}

/// What a registry names is not new if it was handled before, whether or not the registry was down for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rolled_back_does_not_return_when_its_registry_is_back() {
    let (site, place) = (site(""), Place::new().await);
    let new = another_version(&noop(), 2);
    let served = Wrapped::start(&["env"], &site);
    configure(&site, &place, "");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    let registry = place.start_for_a_while(new.clone()).await;
    until("the new version", async || serving(&served, "noop-infer").await == (digest(&new), String::new())).await;
    let (status, text) = served.send("POST", "/v1/plugins/noop-infer/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    drop(served);

    registry.abort();
    let _ = registry.await;
    let served = Wrapped::start(&["env"], &site);
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    place.start(new).await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    let (serving, note) = serving(&served, "noop-infer").await;
    assert_eq!(serving, digest(&noop()));
    // The file of the version that serves is there, but the configuration does not name it any more.
    let named = format!("the configuration names oci://{}/noop:1, whose version was rolled back; ", place.0);
    assert!(note.contains(&named) && note.contains("pipeline `p` needs it"), "{note}");
}

fn digits() -> &'static [u8] {
    plimsoll::base::bundled::file("digits.onnx").expect("bundled")
}

/// A pipeline `q` with the model `m` at a reference.
fn with_model(reference: &str) -> String {
    batching::config(&format!("file = {reference:?}")).replace("pipelines.p", "pipelines.q")
}

async fn has_model(served: &Wrapped) -> bool {
    served.send("GET", "/v1/models", Vec::new()).await.1.contains("\"name\":\"m\"")
}

/// A configuration waits for the registry of a model, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_new_model_is_served_when_its_registry_is_back() {
    let (site, place) = (site(""), Place::new().await);
    let served = Wrapped::start(&["env"], &site);
    let (reference, manifest) = place.model(digits());
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text + &with_model(&reference)).expect("written");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(served.metric("plimsoll_config_reloads_total{result=\"refused\"}").await, 0);
    assert_eq!(lines(&served, "refused the connection", "it is tried again"), 1, "{}", served.log());
    assert!(!has_model(&served).await);
    let asked = place.start_with(manifest, digits().to_vec()).await;
    until("the model", async || has_model(&served).await).await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    assert_eq!(served.metric("plimsoll_config_reloads_total{result=\"served\"}").await, 1);
    assert_eq!(asked.load(Relaxed), 1);
}

/// A plugin whose registry is asked again needs no model.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_pulled_again_pulls_no_model() {
    let (site, place, of_models) = (site(""), Place::new().await, Place::new().await);
    let (reference, manifest) = of_models.model(digits());
    let asked = of_models.start_with(manifest, digits().to_vec()).await;
    let served = Wrapped::start(&["env"], &site);
    configure(&site, &place, &with_model(&reference));
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    assert!(has_model(&served).await);
    // The first attempt, which begins with the model in its folder, is over.
    served.wait_for_failed_scans(5).await;
    fs::remove_dir_all(site.folder.path().join(".plimsoll/models")).expect("removed");
    let new = another_version(&noop(), 2);
    place.start(new.clone()).await;
    until("the new version", async || serving(&served, "noop-infer").await == (digest(&new), String::new())).await;
    assert_eq!(asked.load(Relaxed), 1, "the model is loaded");
}
