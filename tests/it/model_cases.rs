//! Models that once gave wrong answers (`../shared/cases`), and others of their kinds: each gives the right answer on every
//! backend, or is rejected before a port opens.

use std::path::{Path, PathBuf};

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest, shared};
use serde_json::{Value, json};

/// The ways to run a model: backend and infer plugin.
pub(crate) fn engines() -> Vec<(&'static str, &'static str)> {
    let mut engines = vec![("rten", "infer-native"), ("rten", "infer-wasm")];
    if crate::models::onnxruntime().is_some() {
        engines.push(("onnxruntime", "infer-native"));
    }
    engines
}

/// A pipeline `p` whose infer stage runs a model. `model` is added to `[models.m]`.
pub(crate) fn config(file: &Path, engine: (&str, &str), model: &str) -> String {
    shared_config(engine) + &pipeline("p", "m", file, engine, model)
}

/// What all pipelines of an engine share.
fn shared_config((backend, _): (&str, &str)) -> String {
    let library = crate::models::onnxruntime().filter(|_| backend == "onnxruntime");
    let library =
        library.map_or(String::new(), |path| format!("[backends.onnxruntime]\nlibrary = {path:?}\nsessions = 1\n"));
    format!("{library}[plugins.echo-postprocess]\nfile = {:?}\n", guest("echo-postprocess"))
}

/// A pipeline whose infer stage runs a model. `more` is added to the table of the model.
fn pipeline(name: &str, model: &str, file: &Path, (backend, plugin): (&str, &str), more: &str) -> String {
    format!(
        "[models.{model}]\nfile = {file:?}\nbackend = \"{backend}\"\n{more}\n[pipelines.{name}]\nmodel = \"{model}\"\n\
         [pipelines.{name}.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, input = \"image\" }}\n[pipelines.{name}.chips.cpu]\nplugin = \"{plugin}\"\n\
         [pipelines.{name}.postprocess]\nplugin = \"echo-postprocess\"\n",
    )
}

/// Runs the infer stage of the pipeline `p` with the input of the cases. Returns the first output.
async fn infer(server: &Server, input: &Value) -> Value {
    infer_in(server, "p", input).await
}

async fn infer_in(server: &Server, pipeline: &str, input: &Value) -> Value {
    let reply = server.infer_json(&format!("{pipeline}.infer"), &json!({ "inputs": [input] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["outputs"][0].clone()
}

/// The input of the cases, a NumPy file of version 1.0.
fn image(cases: &Path) -> Value {
    let file = std::fs::read(cases.join("input_image.npy")).expect("present");
    let head = usize::from(u16::from_le_bytes([file[8], file[9]])) + 10;
    let values: Vec<f32> = file[head..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    json!({ "name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": values })
}

/// Compares an output with shape and values.
pub(crate) fn assert_output(output: &Value, shape: &Value, data: &[f64], what: &str) {
    assert_eq!(&output["shape"], shape, "{what}");
    let found: Vec<f64> =
        output["data"].as_array().expect("numbers").iter().map(|it| it.as_f64().expect("a number")).collect();
    assert_eq!(found.len(), data.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(data).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-6 + 1e-4 * expected.abs(),
            "{what}: element {index} is {found}, not {expected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_model_of_the_cases_is_right_or_rejected_with_node_and_reason() {
    let Some(cases) = shared("cases") else { return };
    let image = image(&cases);
    let entries = std::fs::read_dir(&cases).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut models: Vec<PathBuf> = entries
        .filter(|path| path.to_string_lossy().ends_with(".onnx"))
        .filter(|path| path.with_extension("onnx.right.json").is_file())
        .collect();
    models.sort();
    assert!(models.len() >= 8, "{}", models.len());
    for engine in engines() {
        // One server has all models, because each server compiles the plugin.
        let (mut toml, mut served) = (shared_config(engine), Vec::new());
        for path in &models {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let what = format!("{name} on {engine:?}");
            // These cannot be rewritten for rten.
            let unsupported = ["onnx_nms", "onnx_resize_cubic"].iter().any(|kind| name.starts_with(kind));
            if unsupported && engine.0 == "rten" {
                let message = Server::rejection(&config(path, engine, "")).await;
                for part in ["operator set", "node `", "onnxruntime"] {
                    assert!(message.contains(part), "{what}: {message}");
                }
                continue;
            }
            let (pipeline_name, model) = (format!("p{}", served.len()), format!("m{}", served.len()));
            toml += &pipeline(&pipeline_name, &model, path, engine, "");
            served.push((pipeline_name, path, what));
        }
        let server = Server::start(&toml).await;
        for (pipeline, path, what) in served {
            let expected = std::fs::read(path.with_extension("onnx.right.json")).expect("present");
            let expected: Value = serde_json::from_slice(&expected).expect("JSON");
            let right = expected.as_object().expect("an object").iter().find(|(key, _)| key.starts_with("right"));
            let right = right.expect("a right value").1;
            let data: Vec<f64> = right["data"].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect();
            assert_output(&infer_in(&server, &pipeline, &image).await, &right["shape"], &data, &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_in_a_file_next_to_the_model_are_found_on_every_engine() {
    let Some(cases) = shared("cases") else { return };
    let image = image(&cases);
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("extdata.onnx");
    for name in ["extdata.onnx", "extdata.onnx.data"] {
        std::fs::copy(cases.join(name), folder.path().join(name)).expect("copied");
    }
    // MatMul of the mean of each channel with the weights.
    let weights = std::fs::read(cases.join("extdata.onnx.data")).expect("present");
    let weights: Vec<f32> = weights.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let values: Vec<f64> = image["data"].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect();
    let means: Vec<f64> = values.chunks(64).map(|channel| channel.iter().sum::<f64>() / 64.0).collect();
    let product = |column: usize| (0..3).map(|row| means[row] * f64::from(weights[4 * row + column])).sum::<f64>();
    let expected: Vec<f64> = (0..4).map(product).collect();
    for engine in engines() {
        let what = format!("{engine:?}");
        let server = Server::start(&config(&file, engine, "")).await;
        assert_output(&infer(&server, &image).await, &json!([1, 4]), &expected, &what);
        let version = |server: &Server| server.app.pipeline("p").expect("served").version.clone();
        let before = version(&server);
        // Other weights are another version.
        let doubled: Vec<u8> = weights.iter().flat_map(|value| (2.0 * value).to_le_bytes()).collect();
        std::fs::write(folder.path().join("extdata.onnx.data"), doubled).expect("written");
        let server = Server::start(&config(&file, engine, "")).await;
        let doubled: Vec<f64> = expected.iter().map(|value| 2.0 * value).collect();
        assert_output(&infer(&server, &image).await, &json!([1, 4]), &doubled, &what);
        assert_ne!(before, version(&server), "{what}");
        std::fs::copy(cases.join("extdata.onnx.data"), folder.path().join("extdata.onnx.data")).expect("copied");
    }
    std::fs::remove_file(folder.path().join("extdata.onnx.data")).expect("removed");
    for engine in engines() {
        let message = Server::rejection(&config(&file, engine, "")).await;
        assert!(message.contains("extdata.onnx.data") && message.contains("cannot be read"), "{engine:?}: {message}");
    }
}

/// The whole way from a picture: the index states the probabilities of one whose channels have these means.
#[tokio::test(flavor = "multi_thread")]
async fn weights_in_a_file_next_to_the_model_give_the_probabilities_of_the_index() {
    let Some(cases) = shared("cases") else { return };
    let index = std::fs::read_to_string(cases.join("INDEX.tsv")).expect("an index");
    let line = index.lines().find(|line| line.starts_with("extdata.onnx\t")).expect("listed");
    let words = line.split("probabilities ").nth(1).expect("probabilities").split(' ');
    let expected: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
    // The sums of red, green and blue over 64 pixels.
    let sums = [6494_u32, 5216, 5369];
    let picture = image::RgbImage::from_fn(8, 8, |x, y| {
        image::Rgb(sums.map(|sum| (sum / 64 + u32::from(8 * y + x < sum % 64)) as u8))
    });
    let mut body = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut body, image::ImageFormat::Png).expect("written");
    for engine in engines() {
        let toml = config(&cases.join("extdata.onnx"), engine, "")
            .replace("plugin = \"echo-postprocess\"", "plugin = \"classify-postprocess\"")
            .replace("input = \"image\"", "scale = 0.00392156862745098");
        let server = Server::start(&toml).await;
        let reply = server.infer("p", "", body.get_ref().clone()).await;
        assert_eq!(reply.status, 200, "{engine:?}: {}", reply.text);
        let predictions = reply.json()["predictions"].clone();
        assert_eq!(expected.len(), 4);
        for found in predictions.as_array().expect("predictions") {
            let right = expected[found["index"].as_u64().expect("a class") as usize];
            let probability = found["probability"].as_f64().expect("a number");
            assert!((probability - right).abs() < 1e-4, "{engine:?}: {found} instead of {right}");
        }
        assert_eq!(predictions.as_array().expect("predictions").len(), 4, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_outside_of_the_folder_of_the_model_are_rejected() {
    let Some(cases) = shared("cases") else { return };
    let folder = TempDir::new().expect("a folder");
    let model = std::fs::read(cases.join("extdata.onnx")).expect("present");
    let name = b"extdata.onnx.data";
    let at = model.windows(name.len()).position(|window| window == name).expect("the location");
    for location in ["../secret.bin.dat", "/etc/hostname.dat", "a/../../b.bin.dat", "/work/secret.dat_"] {
        assert_eq!(location.len(), name.len(), "{location}");
        let mut changed = model.clone();
        changed[at..at + name.len()].copy_from_slice(location.as_bytes());
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, changed).expect("written");
        for engine in engines() {
            let message = Server::rejection(&config(&file, engine, "")).await;
            assert!(
                message.contains(location) && message.contains("inside the model's folder"),
                "{engine:?}: {message}"
            );
        }
    }
    // A link that leads out of the folder.
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("created");
    std::fs::copy(cases.join("extdata.onnx"), inner.join("extdata.onnx")).expect("copied");
    std::fs::copy(cases.join("extdata.onnx.data"), folder.path().join("outside")).expect("copied");
    std::os::unix::fs::symlink("../outside", inner.join("extdata.onnx.data")).expect("linked");
    let message = Server::rejection(&config(&inner.join("extdata.onnx"), engines()[0], "")).await;
    assert!(message.contains("link"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_without_a_declared_shape_is_served() {
    let Some(cases) = shared("cases") else { return };
    let image = image(&cases);
    for engine in engines() {
        let server = Server::start(&config(&cases.join("onnx_input_without_shape.onnx"), engine, "")).await;
        assert_eq!(infer(&server, &image).await["shape"], json!([1, 3, 1, 1]), "{engine:?}");
    }
}

/// A model whose only node mixes the rows of a batch.
fn mixing(operator: &str, attributes: &[(&str, i64)]) -> Vec<u8> {
    let shape = [None, Some(3), Some(8), Some(8)];
    Onnx::new(13).input("image", &shape).output("y", &shape).node(operator, &["image"], "y", attributes).bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn batching_is_rejected_for_models_whose_rows_depend_on_each_other() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    for (operator, attributes) in [("Softmax", &[("axis", 0)][..]), ("LogSoftmax", &[("axis", 0)])] {
        std::fs::write(&file, mixing(operator, attributes)).expect("written");
        for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
            let message = Server::rejection(&config(&file, engine, "max_batch = 4")).await;
            for part in ["max_batch", "output `y`", "row", "differs by"] {
                assert!(message.contains(part), "{engine:?}: {message}");
            }
            // Without batches the model is served.
            Server::start(&config(&file, engine, "")).await.stop().await;
        }
    }
    std::fs::write(&file, mixing("Softmax", &[("axis", 1)])).expect("written");
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        Server::start(&config(&file, engine, "max_batch = 4")).await.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_share_a_batch_get_the_answers_that_they_would_get_alone() {
    let Some(cases) = shared("cases") else { return };
    let file = cases.join("onnx_nms_batch_isolation.onnx");
    let of =
        |value: f32| json!({ "name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": vec![value; 192] });
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        // A list of the boxes of all images: the graph alone does not prove that they stay apart.
        let message = Server::rejection(&config(&file, engine, "max_batch = 2")).await;
        assert!(message.contains("NonMaxSuppression"), "{message}");
        let config = config(&file, engine, "max_batch = 2\nmax_batch_unproven = true\nmax_delay = \"50ms\"");
        if engine.0 == "rten" {
            let message = Server::rejection(&config).await;
            assert!(message.contains("NonMaxSuppression"), "{message}");
            continue;
        }
        let server = Server::start(&config).await;
        for _ in 0..8 {
            let (bright, dark) = (of(0.9), of(0.6));
            let (bright, dark) = tokio::join!(infer(&server, &bright), infer(&server, &dark));
            assert_eq!((&bright["data"], &dark["data"]), (&json!([1.0]), &json!([1.0])), "{engine:?}");
        }
    }
}
