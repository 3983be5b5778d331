//! The memory that models hold on their devices: figures, and the cap `max_device_memory`.

use std::path::Path;

use plimsoll_tests::{Server, TempDir, another_version, data, is_alone};
use serde_json::Value;

use crate::batching::metric;
use crate::chips::{ggml, openvino, plugin_table};
use crate::models::onnxruntime;
use crate::reload::wait_for_reloads;
use crate::shared_sessions::{heavy, resident};

/// The weights of the models, in bytes.
const WEIGHTS: u64 = 40_000_000;

/// A pipeline `p` with a model of 40 MB.
fn config(folder: &Path, library: Option<&Path>, model: &str) -> String {
    let file = folder.join("heavy.onnx");
    if !file.exists() {
        std::fs::write(&file, heavy(40)).expect("written");
    }
    let backend = library.map_or(String::new(), |path| format!("[backends.onnxruntime]\nlibrary = {path:?}\n"));
    let name = if library.is_some() { "onnxruntime" } else { "rten" };
    backend + &crate::batching::config(&format!("file = {file:?}\nbackend = \"{name}\"\n{model}"))
}

async fn infer(server: &Server) {
    let seven = std::fs::read(data("digits/7.jpg")).expect("there");
    let reply = server.infer("p", "", seven).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// The figures of a server in all places, which are the same and plausible. Returns them.
async fn figures(server: &Server, target: &str) -> Value {
    infer(server).await;
    let of_m = |models: &Value, key: &str| {
        let models = models["models"].as_array().expect("a list");
        models.iter().find(|model| model[key] == "m").unwrap_or_else(|| panic!("{models:?}")).clone()
    };
    let listed = of_m(&server.get("/v1/models").await.json(), "name");
    let memory = &listed["memory"];
    let bytes = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{listed}"));
    for figure in ["admitted", "bytes", "high_water"] {
        assert!((WEIGHTS..3 * WEIGHTS).contains(&bytes(&memory[figure])), "{listed}");
    }
    assert!(bytes(&memory["high_water"]) >= bytes(&memory["bytes"]), "{listed}");
    let row = of_m(&server.get("/v1/memory").await.json(), "model");
    assert_eq!((&row["model"], &row["target"], &row["loaded"]), (&"m".into(), &target.into(), &1.into()), "{row}");
    for figure in ["admitted", "bytes", "high_water", "source"] {
        assert_eq!(row[figure], memory[figure], "{figure}");
    }
    let metrics = server.get("/metrics").await.text;
    let source = memory["source"].as_str().expect("a word");
    let labels = format!("_bytes{{model=\"m\",target=\"{target}\",source=\"{source}\"}}");
    assert_eq!(metric(&metrics, &format!("plimsoll_model_device_memory{labels}")) as u64, bytes(&memory["bytes"]));
    let most = metric(&metrics, &format!("plimsoll_model_device_memory_high_water{labels}"));
    assert_eq!(most as u64, bytes(&memory["high_water"]));
    memory.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_reports_the_memory_that_it_holds() {
    if !is_alone("device_memory::a_model_reports_the_memory_that_it_holds") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(&config(folder.path(), None, "")).await;
    assert_eq!(figures(&server, "cpu").await["source"], "resident");
    let shown = tokio::task::block_in_place(|| crate::cli::run(&["chips", "--server", &server.admin_url]));
    let text = crate::cli::text(&shown.stdout);
    let line = text.lines().find(|line| line.starts_with("model m on cpu: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(" MiB now, ") && line.ends_with(" at most (resident)"), "{line}");
    let Some(library) = onnxruntime() else { return };
    drop(server);
    let server = Server::start(&config(folder.path(), Some(&library), "max_batch = 4")).await;
    figures(&server, "cpu").await;
}

/// A provider that computes in the memory of the CPU has no statistics of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_without_statistics_falls_back_to_resident_memory_and_says_so() {
    if !is_alone("device_memory::a_plugin_without_statistics_falls_back_to_resident_memory_and_says_so") {
        return;
    }
    let Some((library, plugin)) = ggml() else { return };
    let folder = TempDir::new().expect("a folder");
    let model = "target = \"g\"\noptions = { partial = 1 }";
    // Each run has its own session, and copy of the weights.
    let toml = config(folder.path(), Some(&library), model).replace("[models.m]", "sessions = 1\n[models.m]");
    let server = Server::start(&(toml + &plugin_table(&plugin, ""))).await;
    let memory = figures(&server, "g").await;
    assert!(["resident", "file"].contains(&memory["source"].as_str().expect("a word")), "{memory}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openvino_reports_the_memory_that_a_model_holds() {
    if !is_alone("device_memory::openvino_reports_the_memory_that_a_model_holds") {
        return;
    }
    let Some(library) = openvino() else { return };
    let folder = TempDir::new().expect("a folder");
    let chip = "\n[chips.ov]\nprovider = \"openvino\"\ndevice = \"CPU\"\n";
    // The first model also loads the library of the provider.
    let first = "[models.first]\nfile = \"bundled:digits.onnx\"\nbackend = \"onnxruntime\"\ntarget = \"ov\"\n";
    let toml =
        config(folder.path(), Some(&library), "target = \"ov\"").replace("[models.m]", &format!("{first}[models.m]"));
    let server = Server::start(&(toml + chip)).await;
    let memory = figures(&server, "ov").await;
    assert!(["resident", "file"].contains(&memory["source"].as_str().expect("a word")), "{memory}");
    drop(server);
    let capped = config(folder.path(), Some(&library), "target = \"ov\"\nmax_device_memory = \"30MB\"") + chip;
    let refusal = Server::rejection(&capped).await;
    assert!(refusal.contains("max_device_memory: the model `m` holds ") && refusal.contains("on `ov`"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_above_its_cap_is_refused_and_everything_else_serves_on() {
    if !is_alone("device_memory::a_model_above_its_cap_is_refused_and_everything_else_serves_on") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let write = |model: &str| {
        let cache = format!("cache_dir = {:?}\n", plimsoll_tests::shared_cache());
        std::fs::write(&file, cache + &config(folder.path(), None, model)).expect("written");
    };
    let check = || {
        let output = crate::cli::run(&["check", "--config", file.to_str().expect("text")]);
        (output.status.code(), crate::cli::text(&output.stdout) + &crate::cli::text(&output.stderr))
    };
    let says_both = |text: &str| {
        let parts =
            ["max_device_memory: the model `m` holds ", " MiB on `cpu` (by ", "more than the 28.6 MiB that it may"];
        parts.iter().all(|part| text.contains(part))
    };
    // At the start, and `check`.
    write("max_device_memory = \"30MB\"");
    let (code, text) = check();
    assert!(code == Some(64) && says_both(&text), "{code:?}: {text}");
    let served = Server::rejection(&config(folder.path(), None, "max_device_memory = \"30MB\"")).await;
    assert!(says_both(&served), "{served}");
    write("max_device_memory = \"200MB\"");
    let (code, text) = check();
    assert!(code == Some(0) && text.contains("model m: ") && text.contains(" on cpu (resident)"), "{code:?}: {text}");

    // In a new configuration: a lower cap of the same model, and another model above it.
    let mut loaded = plimsoll::config::Config::load(Some(&file)).expect("valid");
    loaded.data_dir = Some(folder.path().join(".plimsoll"));
    let server = Server::with_config(&loaded).await;
    infer(&server).await;
    write("max_device_memory = \"30MB\"");
    wait_for_reloads(&server, "refused", 1).await;
    infer(&server).await;
    std::fs::write(folder.path().join("heavy.onnx"), heavy(44)).expect("written");
    write("max_device_memory = \"42MB\"");
    wait_for_reloads(&server, "refused", 2).await;
    infer(&server).await;
    let rows = server.get("/v1/memory").await.json()["models"].clone();
    assert_eq!((&rows[0]["loaded"], rows.as_array().map(Vec::len)), (&1.into(), Some(1)), "it is gone: {rows}");
    write("max_device_memory = \"300MB\"");
    wait_for_reloads(&server, "served", 1).await;
    infer(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_nothing_is_refused() {
    let text =
        Server::rejection(&crate::batching::config("file = \"bundled:digits.onnx\"\nmax_device_memory = 0")).await;
    assert!(text.contains("models.m.max_device_memory") && text.contains("greater than 0"), "{text}");
}

/// The file of a model is an asset of its stages. Bytes that no plugin can read are not kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_a_model_stays_in_memory_only_for_a_plugin_that_can_read_it() {
    if !is_alone("device_memory::the_file_of_a_model_stays_in_memory_only_for_a_plugin_that_can_read_it") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let small = Server::start(&config(folder.path(), None, "")).await;
    infer(&small).await;
    let file = folder.path().join("heavy.onnx");
    std::fs::write(&file, heavy(120)).expect("written");
    let before = resident();
    let server = Server::start(&config(folder.path(), None, "")).await;
    infer(&server).await;
    let grown = (resident() - before) / 1_000_000;
    assert!(grown < 204, "{grown} MB for a model of 120 MB");

    // A new version of the plugin serves with the model that is loaded, whatever the file is now.
    std::fs::write(&file, heavy(2)).expect("written");
    let native = plimsoll::base::bundled::plugin("infer-native").expect("bundled");
    let put = server.send("PUT", "/v1/plugins/infer-native", &[], another_version(native, 1)).await;
    assert_eq!((put.status, &put.json()["state"]), (200, &"serving".into()), "{}", put.text);
    infer(&server).await;
    // One that reads the file cannot have the file that the model was loaded from.
    let reader = plimsoll::base::bundled::plugin("infer-wasm").expect("bundled");
    let put = server.send("PUT", "/v1/plugins/infer-native", &[], reader.to_vec()).await;
    assert_eq!((put.status, put.code()), (422, "plugin_refused".to_owned()), "{}", put.text);
    assert!(put.text.contains("heavy.onnx has changed since the configuration was loaded"), "{}", put.text);
    infer(&server).await;
}
