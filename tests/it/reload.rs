//! A changed configuration is applied without a restart. An invalid one is rejected and changes nothing.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, Site, TempDir, another_version, data, guests_config, shared_cache, stamped_reply};

use crate::cli::Served;

async fn wait_for_deadline(server: &Server, seconds: f64) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = server.get("/v1/pipelines").await.json()["pipelines"][0]["deadline_seconds"].clone();
        if shown == seconds {
            return;
        }
        assert!(Instant::now() < until, "{shown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until this many reloads ended with a result, at most one minute.
pub(crate) async fn wait_for_reloads(server: &Server, result: &str, count: u32) {
    let line = format!("plimsoll_config_reloads_total{{result=\"{result}\"}} {count}\n");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let metrics = server.get("/metrics").await.text;
        if metrics.contains(&line) {
            return;
        }
        assert!(Instant::now() < until, "{line} is missing in {metrics}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_applied_and_an_invalid_one_changes_nothing() {
    let site = Site::new("deadline = \"7s\"");
    let server = site.serve().await;
    wait_for_deadline(&server, 7.0).await;
    site.write_config("deadline = \"8s\"");
    wait_for_deadline(&server, 8.0).await;

    for (count, wrong) in [(1, "deadline = \"soon\""), (2, "default_chip = \"none\"")] {
        site.write_config(wrong);
        wait_for_reloads(&server, "refused", count).await;
    }
    wait_for_deadline(&server, 8.0).await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));

    site.write_config("deadline = \"9s\"");
    wait_for_deadline(&server, 9.0).await;
}

/// A configuration that names another model file is applied if the file is valid. A broken model file changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_model_is_applied_and_a_broken_one_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let digits = plimsoll::base::bundled::file("digits.onnx").expect("bundled");
    std::fs::write(path("good.onnx"), digits).expect("written");
    std::fs::write(path("broken.onnx"), &digits[..digits.len() / 2]).expect("written");
    let config = path("plimsoll.toml");
    let write = |model: &str, plugin: &str| {
        let text = format!(
            "cache_dir = {:?}\n[models.m]\nfile = \"{model}\"\n[pipelines.p]\nmodel = \"m\"\n\
             [pipelines.p.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ width = 8, height = 8, \
             channels = \"gray\", scale = 0.00392156862745098 }}\n[pipelines.p.chips.c]\nplugin = \"{plugin}\"\n\
             [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\nconfig = {{ labels = \"labels.txt\" }}\n\
             assets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n",
            shared_cache()
        );
        std::fs::write(&config, text).expect("written");
    };
    write("good.onnx", "infer-native");
    let mut loaded = plimsoll::config::Config::load(Some(&config)).expect("valid");
    loaded.data_dir = Some(path(".plimsoll"));
    let server = Server::with_config(&loaded).await;
    let seven = std::fs::read(data("digits/7.jpg")).expect("there");
    let label = async || {
        let reply = server.infer("p", "", seven.clone()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["predictions"][0]["label"].clone()
    };
    assert_eq!(label().await, "7");
    let until = async |result: &str| wait_for_reloads(&server, result, 1).await;
    write("broken.onnx", "infer-native");
    until("refused").await;
    assert_eq!(label().await, "7");
    // The same weights in a file with other bytes are another model.
    let mut other = digits.to_vec();
    // Appends `doc_string` (field 6 of ModelProto): the key, the length and one byte.
    other.extend([0x32, 1, b'x']);
    std::fs::write(path("other.onnx"), other).expect("written");
    write("other.onnx", "infer-native");
    until("served").await;
    assert_eq!(label().await, "7");
}

/// Files that a rejected configuration has read are not used by the next change, and do not prevent it.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_rejected_configuration_do_not_affect_later_changes() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let labels = plimsoll::base::bundled::file("digits-labels.txt").expect("bundled");
    let digits = plimsoll::base::bundled::file("digits.onnx").expect("bundled");
    std::fs::write(path("labels.txt"), labels).expect("written");
    std::fs::write(path("digits.onnx"), digits).expect("written");
    let text = format!(
        "cache_dir = {:?}\n[models.m]\nfile = \"digits.onnx\"\n[pipelines.p]\nmodel = \"m\"\n\
         [pipelines.p.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ width = 8, height = 8, \
         channels = \"gray\", scale = 0.00392156862745098 }}\n[pipelines.p.chips.c]\nplugin = \"infer-native\"\n\
         [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\nconfig = {{ labels = \"labels.txt\" }}\n\
         assets = {{ \"labels.txt\" = \"labels.txt\" }}\n",
        shared_cache()
    );
    std::fs::write(path("plimsoll.toml"), text).expect("written");
    let mut config = plimsoll::config::Config::load(Some(&path("plimsoll.toml"))).expect("valid");
    config.data_dir = Some(path(".plimsoll"));
    let server = Server::with_config(&config).await;
    let seven = std::fs::read(data("digits/7.jpg")).expect("there");
    let version = AtomicU8::new(0);
    let deploy = async || {
        let shipped = plimsoll::base::bundled::plugin("infer-native").expect("shipped");
        let bytes = another_version(shipped, version.fetch_add(1, Relaxed));
        let put = server.send("PUT", "/v1/plugins/infer-native", &[], bytes).await;
        assert_eq!(put.status, 200, "{}", put.text);
        let reply = server.infer("p", "", seven.clone()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["predictions"][0]["label"].clone()
    };
    for broken in ["digits.onnx", "labels.txt"] {
        let good = std::fs::read(path(broken)).expect("there");
        std::fs::remove_file(path(broken)).expect("there");
        let load = server.send("POST", "/v2/repository/models/p/load", &[], Vec::new()).await;
        assert_ne!(load.status, 200, "{}", load.text);
        assert!(load.text.contains(broken), "{}", load.text);
        assert_eq!(deploy().await, "7");
        std::fs::write(path(broken), good).expect("written");
    }
    // A changed file is read again only if a load is requested, not when a plugin is deployed.
    std::fs::write(path("labels.txt"), String::from_utf8_lossy(labels).replace('7', "seven")).expect("written");
    assert_eq!(deploy().await, "7");
    let load = server.send("POST", "/v2/repository/models/p/load", &[], Vec::new()).await;
    assert_eq!(load.status, 200, "{}", load.text);
    assert_eq!(deploy().await, "seven");
    // A removed model file does not prevent a deployment, because the running pipeline has its content.
    std::fs::remove_file(path("digits.onnx")).expect("there");
    assert_eq!(deploy().await, "seven");
}

/// A plugin that is removed from the configuration is retired. Its unchanged file must serve again when the plugin is
/// added again, although the file was already seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_can_be_removed_from_the_configuration_and_added_again() {
    let folder = TempDir::new().expect("a folder");
    let start = async |preprocess: &str| {
        let config = guests_config(preprocess, "");
        let mut config = plimsoll::config::Config::parse(&config, &folder.path().join("plimsoll.toml")).expect("valid");
        config.data_dir = Some(folder.path().join(".plimsoll"));
        config.cache_dir = Some(shared_cache());
        Server::with_config(&config).await
    };
    start("noop-preprocess").await.stop().await;
    let server = start("tester").await;
    let end = Instant::now() + Duration::from_secs(60);
    while server.get("/v1/plugins/noop-preprocess").await.status != 404 {
        assert!(Instant::now() < end, "the plugin is not retired, so the test proves nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
    let server = start("noop-preprocess").await;
    let reply = server.infer("p", "", "").await;
    assert!(reply.headers["x-plimsoll-plugins"].to_str().expect("text").contains("noop-preprocess"), "{reply:?}");
}

#[tokio::test]
async fn sighup_reloads_the_configuration() {
    let site = Site::new("");
    let served = Served::start(&site.config);
    // The file has not changed, so only a signal can cause a reload. A signal in the start is not seen by the watcher.
    let mut signals = 0;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        served.signal("-HUP");
        signals += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let metrics = reqwest::get(format!("{}/metrics", served.url)).await.expect("an answer");
        if metrics.text().await.expect("text").contains("plimsoll_config_reloads_total{result=\"served\"}") {
            break;
        }
        assert!(Instant::now() < until, "no reload after {signals} signals");
    }
    served.terminate();
    let (code, log) = served.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    let reloads = log.matches("\"action\":\"reload\"").count();
    assert!((1..=signals).contains(&reloads), "{reloads} reloads after {signals} signals: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_plugins_if_there_is_no_data_folder() {
    let site = Site::new("deadline = \"7s\"");
    // A file at the path of the data folder: nothing can be written there, even by root.
    std::fs::write(site.folder.path().join(".plimsoll"), "").expect("written");
    let server = site.serve().await;
    site.write_config("deadline = \"8s\"");
    wait_for_deadline(&server, 8.0).await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
}
