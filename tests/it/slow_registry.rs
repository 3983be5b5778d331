//! A registry that sends its reply byte by byte delays only the change that pulls from it. Of two changes of the same
//! plugin the later request wins.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, another_version, guest, stamped, stamped_reply};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::send_signal;
use crate::wrapped::{Wrapped, site, until};

/// A registry with one component. It sends a space every now and then before each manifest, until it is released.
struct Registry {
    /// `127.0.0.1:PORT`.
    address: String,
    /// How many manifests were requested.
    asked: Arc<AtomicU32>,
    is_released: watch::Sender<bool>,
}

impl Registry {
    async fn start(component: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (is_released, released) = watch::channel(false);
        let this = Self { address, asked: Arc::default(), is_released };
        let (asked, component) = (Arc::clone(&this.asked), Arc::new(component));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, component, released) = (Arc::clone(&asked), Arc::clone(&component), released.clone());
                // A client that goes away ends its connection with an error.
                tokio::spawn(async move { drop(answer(stream, &component, &asked, released).await) });
            }
        });
        this
    }

    fn release(&self) {
        self.is_released.send_replace(true);
    }

    /// Makes the configuration of a site name this registry as the source of `noop-infer`. Waits until it is asked.
    async fn configure(&self, site: &Site, served: &Wrapped) {
        let text = fs::read_to_string(&site.config).expect("text");
        let noop = format!("file = {:?}", guest("noop-infer"));
        assert!(text.contains(&noop), "{text}");
        let (asked, reference) = (self.asked.load(Relaxed), format!("file = \"oci://{}/noop:1\"", self.address));
        plimsoll_tests::replace_file(&site.config, text.replace(&noop, &reference)).expect("written");
        until("the registry is asked", async || self.asked.load(Relaxed) > asked).await;
        assert_eq!(reloads(served, "served").await + reloads(served, "refused").await, 0);
    }
}

/// Answers one request and closes the connection.
async fn answer(
    stream: TcpStream,
    component: &[u8],
    asked: &AtomicU32,
    mut released: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    if first.contains("/blobs/") {
        let head = format!("{head}content-length: {}\r\n\r\n", component.len());
        stream.write_all(&[head.as_bytes(), component].concat()).await?;
        return stream.shutdown().await;
    }
    if !first.contains("/manifests/") {
        stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).await?;
        return stream.shutdown().await;
    }
    asked.fetch_add(1, Relaxed);
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
    while !*released.borrow_and_update() {
        stream.write_all(b"1\r\n \r\n").await?;
        let _ = tokio::time::timeout(Duration::from_millis(50), released.changed()).await;
    }
    let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.wasm.config.v0+json", b"{}"),
        "layers": [descriptor("application/wasm", component)],
    });
    let manifest = manifest.to_string();
    stream.write_all(format!("{:x}\r\n{manifest}\r\n0\r\n\r\n", manifest.len()).as_bytes()).await?;
    stream.shutdown().await
}

async fn reloads(served: &Wrapped, result: &str) -> u64 {
    served.metric(&format!("plimsoll_config_reloads_total{{result=\"{result}\"}}")).await
}

async fn put(served: &Wrapped, path: &str, bytes: Vec<u8>) {
    let (status, text) = served.send("PUT", path, bytes).await;
    assert_eq!(status, 200, "{text}");
}

async fn version(served: &Wrapped, plugin: &str) -> String {
    let (_, shown) = served.json("GET", &format!("/v1/plugins/{plugin}"), Vec::new()).await;
    let versions = shown["versions"].as_array().expect("a list");
    let serving = versions.iter().find(|version| version["state"] == "serving");
    serving.unwrap_or_else(|| panic!("nothing serves: {shown}"))["version"].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_do_not_wait_for_a_registry_that_sends_byte_by_byte() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let before = fs::read_to_string(&site.config).expect("text");
    let noop = fs::read(guest("noop-infer")).expect("built");
    let registry = Registry::start(noop.clone()).await;
    registry.configure(&site, &served).await;
    // Uploads, files, rollbacks and retirements, also of the plugin that is pulled.
    put(&served, "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!(served.reply().await, stamped_reply(1));
    site.drop_in("other.wasm", &stamped(7));
    until("the other plugin", async || served.states("other").await == ["unused"]).await;
    put(&served, "/v1/plugins/noop-infer?version=2", another_version(&noop, 2)).await;
    assert_eq!(version(&served, "noop-infer").await, "2");
    assert_eq!(served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await.0, 200);
    assert_eq!(served.reply().await, stamped_reply(0));
    fs::remove_file(site.plugin("other.wasm")).expect("removed");
    until("the removal", async || served.states("other").await.is_empty()).await;
    assert_eq!(reloads(&served, "served").await, 0, "the registry is still sending");
    // A corrected configuration replaces the one that waits.
    let corrected = before.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"9s\"\n");
    plimsoll_tests::replace_file(&site.config, corrected).expect("written");
    until("the corrected configuration", async || {
        served.json("GET", "/v1/pipelines", Vec::new()).await.1["pipelines"][0]["deadline_seconds"] == 9.0
    })
    .await;
    until("the change is counted", async || reloads(&served, "served").await > 0).await;
    assert_eq!((reloads(&served, "served").await, registry.asked.load(Relaxed)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pull_and_an_upload_of_the_same_plugin_the_later_request_wins() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let noop = fs::read(guest("noop-infer")).expect("built");
    let registry = Registry::start(another_version(&noop, 1)).await;
    registry.configure(&site, &served).await;
    put(&served, "/v1/plugins/noop-infer?version=9", another_version(&noop, 9)).await;
    registry.release();
    until("the reload", async || reloads(&served, "served").await == 1).await;
    assert_eq!(version(&served, "noop-infer").await, "9");
    until("the log", async || served.log().contains("was deployed or rolled back while it was pulled")).await;
    // The reference was handled, so the same content does not come back with the next configuration.
    send_signal(served.pid().parse().expect("a number"), "-HUP");
    until("another reload", async || reloads(&served, "served").await == 2).await;
    assert_eq!(version(&served, "noop-infer").await, "9");
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(version(&served, "noop-infer").await, "9");

    // The other order: without a later upload, what was pulled serves.
    let other = Registry::start(another_version(&noop, 3)).await;
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace(&registry.address, &other.address)).expect("written");
    until("the other registry is asked", async || other.asked.load(Relaxed) == 1).await;
    other.release();
    until("the pulled version", async || version(&served, "noop-infer").await == "unversioned").await;
}
