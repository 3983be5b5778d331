//! A model that a rule refuses is refused alike by `plimsoll check`, at the start, by a changed configuration and by a
//! requested load, and what is served stays. Weights in other files: where they are read from, and when they changed.

use std::path::Path;

use plimsoll::config::Config;
use plimsoll_tests::{Server, TempDir, shared, shared_cache};
use serde_json::{Value, json};

use crate::cli::{run, text};
use crate::model_cases::{config, engines};
use crate::reload::wait_for_reloads;

/// What the message about each model must say.
const REFUSED: [(&str, &[&str]); 2] = [
    ("onnx_nms_two_classes.onnx", &["(NonMaxSuppression, operator set ", "node `", "use the backend `onnxruntime`"]),
    ("onnx_resize_cubic.onnx", &["(Resize, operator set ", "node `", "cubic", "use the backend `onnxruntime`"]),
];

/// A model that returns its input, and a configuration file for it.
struct Folder {
    folder: TempDir,
    plugin: &'static str,
}

impl Folder {
    fn new(plugin: &'static str) -> Self {
        Folder { folder: TempDir::new().expect("a folder"), plugin }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration with the model of this file.
    fn write(&self, model: &Path) -> std::path::PathBuf {
        let file = self.path("plimsoll.toml");
        let toml = format!("cache_dir = {:?}\n", shared_cache()) + &config(model, ("rten", self.plugin), "");
        std::fs::write(&file, toml).expect("written");
        file
    }

    /// Serves the configuration, and follows its file.
    async fn serve(&self) -> Server {
        let mut config = Config::load(Some(&self.path("plimsoll.toml"))).expect("valid");
        config.data_dir = Some(self.path(".plimsoll"));
        Server::with_config(&config).await
    }
}

fn input() -> Value {
    let values: Vec<f32> = (0..192).map(|at| at as f32 / 192.0).collect();
    json!({ "name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": values })
}

async fn output(server: &Server) -> Vec<f64> {
    let reply = server.infer_json("p.infer", &json!({ "inputs": [input()] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let data = reply.json()["outputs"][0]["data"].clone();
    data.as_array().expect("numbers").iter().filter_map(Value::as_f64).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_rule_refuses_is_refused_by_check_start_reload_and_load() {
    let Some(cases) = shared("cases") else { return };
    for plugin in ["infer-native", "infer-wasm"] {
        let folder = Folder::new(plugin);
        let served = folder.path("served.onnx");
        std::fs::copy(cases.join("onnx_input_without_shape.onnx"), &served).expect("copied");
        folder.write(&served);
        let server = folder.serve().await;
        let before = output(&server).await;
        for (count, (name, words)) in (1..).zip(REFUSED) {
            let says = |message: &str, what: &str| {
                for word in words {
                    assert!(message.contains(word), "{plugin}, {name}, {what}: {word} is missing in: {message}");
                }
            };
            // In a folder of its own, because the server follows the other one.
            let other = Folder::new(plugin);
            let file = other.write(&cases.join(name));
            let file = file.to_str().expect("text");
            let check = tokio::task::block_in_place(|| run(&["check", "--config", file]));
            assert!(!check.status.success(), "{}", text(&check.stdout));
            says(&text(&check.stderr), "check");
            let start = tokio::task::block_in_place(|| run(&["serve", "--listen", "127.0.0.1:0", "--config", file]));
            let log = text(&start.stderr);
            assert!(!start.status.success() && !log.contains("http://"), "{log}");
            says(&log, "start");

            // A changed configuration.
            folder.write(&cases.join(name));
            wait_for_reloads(&server, "refused", count).await;
            assert_eq!(output(&server).await, before, "{plugin}, {name}");
            folder.write(&served);
            wait_for_reloads(&server, "served", count).await;

            // A changed file and a requested load.
            std::fs::copy(cases.join(name), &served).expect("copied");
            let load = server.send("POST", "/v2/repository/models/p/load", &[], Vec::new()).await;
            assert_ne!(load.status, 200, "{}", load.text);
            says(&load.text, "load");
            assert_eq!(output(&server).await, before, "{plugin}, {name}");
            std::fs::copy(cases.join("onnx_input_without_shape.onnx"), &served).expect("copied");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_without_a_declared_shape_gives_the_means() {
    let Some(cases) = shared("cases") else { return };
    let means: Vec<f64> = (0..3).map(|channel| (64.0 * f64::from(channel) + 31.5) / 192.0).collect();
    for engine in engines() {
        let server = Server::start(&config(&cases.join("onnx_input_without_shape.onnx"), engine, "")).await;
        let found = output(&server).await;
        assert_eq!(found.len(), 3, "{engine:?}");
        let most = found.iter().zip(&means).map(|(found, mean)| (found - mean).abs()).fold(0.0, f64::max);
        assert!(most < 1e-6, "{engine:?}: {found:?} instead of {means:?}");
        server.stop().await;
    }
}

/// Weights in another file: only this file changes.
#[tokio::test(flavor = "multi_thread")]
async fn changed_weights_in_another_file_are_another_model_when_it_is_loaded_again() {
    let Some(cases) = shared("cases") else { return };
    for plugin in ["infer-native", "infer-wasm"] {
        let folder = Folder::new(plugin);
        for name in ["extdata.onnx", "extdata.onnx.data"] {
            std::fs::copy(cases.join(name), folder.path(name)).expect("copied");
        }
        folder.write(&folder.path("extdata.onnx"));
        let server = folder.serve().await;
        let before = output(&server).await;
        let weights = std::fs::read(folder.path("extdata.onnx.data")).expect("there");
        let halved = weights.as_chunks().0.iter().flat_map(|&bytes| (0.5 * f32::from_le_bytes(bytes)).to_le_bytes());
        std::fs::write(folder.path("extdata.onnx.data"), halved.collect::<Vec<u8>>()).expect("written");
        let version = |server: &Server| server.app.pipeline("p").expect("served").version.clone();
        let first = version(&server);
        let load = server.send("POST", "/v2/repository/models/p/load", &[], Vec::new()).await;
        assert_eq!(load.status, 200, "{plugin}: {}", load.text);
        let after = output(&server).await;
        assert_ne!(first, version(&server), "{plugin}");
        for (before, after) in before.iter().zip(&after) {
            assert!((before * 0.5 - after).abs() < 1e-5, "{plugin}: {after} after {before}");
        }
        server.stop().await;
    }
}

/// The working directory has a file with the name of the weights, but the model's folder counts.
#[test]
fn weights_are_never_read_from_the_working_directory() {
    let Some(cases) = shared("cases") else { return };
    let decoy = TempDir::new().expect("a folder");
    let weights = std::fs::read(cases.join("extdata.onnx.data")).expect("present");
    let doubled = weights.as_chunks().0.iter().flat_map(|&bytes| (2.0 * f32::from_le_bytes(bytes)).to_le_bytes());
    std::fs::write(decoy.path().join("extdata.onnx.data"), doubled.collect::<Vec<u8>>()).expect("written");
    let picture = decoy.path().join("picture.png");
    image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([(x * 30) as u8, (y * 30) as u8, 90]))
        .save(&picture)
        .expect("written");
    for engine in engines() {
        let folder = TempDir::new().expect("a folder");
        let toml = folder.path().join("plimsoll.toml");
        let file = folder.path().join("extdata.onnx");
        std::fs::copy(cases.join("extdata.onnx"), &file).expect("copied");
        // The reply has the numbers of the model.
        let pipeline = config(&file, engine, "").replace("\"echo-postprocess\"", "\"tensors-postprocess\"");
        std::fs::write(&toml, format!("cache_dir = {:?}\n", shared_cache()) + &pipeline).expect("written");
        let run_in = |working: &Path, command: &str| {
            let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
            process.current_dir(working).env_remove("RUST_LOG").arg(command);
            if command == "infer" {
                process.arg("p").arg(&picture);
            }
            process.arg("--config").arg(&toml).output().expect("the binary starts")
        };
        let refused = run_in(decoy.path(), "check");
        let message = text(&refused.stderr);
        assert!(!refused.status.success() && message.contains("extdata.onnx.data"), "{engine:?}: {message}");
        std::fs::copy(cases.join("extdata.onnx.data"), folder.path().join("extdata.onnx.data")).expect("copied");
        let [there, elsewhere] = [decoy.path(), folder.path()].map(|working| run_in(working, "infer"));
        assert!(there.status.success(), "{engine:?}: {}", text(&there.stderr));
        // The times of the stages follow.
        let reply = |output: &std::process::Output| text(&output.stdout).lines().next().map(str::to_owned);
        assert!(reply(&there).is_some_and(|reply| reply.contains("\"data\":[")), "{}", text(&there.stdout));
        assert_eq!(reply(&there), reply(&elsewhere), "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_whose_scores_are_nan_is_at_fault() {
    let Some(cases) = shared("cases") else { return };
    for engine in engines() {
        let detect = "plugin = \"detect-postprocess\"\nconfig = { layout = \"decoded\", background_class = -1 }\n";
        let toml = config(&cases.join("onnx_detector_nan.onnx"), engine, "")
            .replace("plugin = \"echo-postprocess\"\n", detect);
        let configuration = Config::parse(&toml, Path::new("test.toml")).expect("valid");
        let configuration = Config { cache_dir: Some(shared_cache()), ..configuration };
        // The sample of the deployment shows it, or the first request.
        match plimsoll::serve::App::build(&configuration).await {
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("NaN") || message.contains("not a"), "{engine:?}: {message}");
            }
            Ok(_) => {
                let server = Server::start(&toml).await;
                let reply = server.infer("p", "", std::fs::read(guest_image()).expect("there")).await;
                assert_eq!((reply.status, reply.code().as_str()), (500, "internal"), "{engine:?}: {}", reply.text);
                server.stop().await;
            }
        }
    }
}

/// Any image.
fn guest_image() -> std::path::PathBuf {
    plimsoll_tests::data("digits/7.jpg")
}
