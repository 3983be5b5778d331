//! Batch sizes over HTTP: a device that prepares itself for new shapes gets only prepared sizes, no caller sees the
//! rows that pad a batch, and settings that cannot be used are rejected by name.

use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::simulated::Device;
use plimsoll_tests::{Server, TempDir, data};
use serde_json::{Value, json};

use crate::batching::{config, metric, recognise_at_once};

/// Digits whose rows differ, as flat images of 8×8 numbers.
fn images(rows: usize) -> Vec<f32> {
    (0..rows * 64).map(|place| ((place * 37 + place / 64 * 11) % 97) as f32 / 97.0).collect()
}

/// The outputs of the model `p.infer` for some rows of [`images`]: the numbers of each row.
async fn infer(server: &Server, images: &[f32], shape: &[usize]) -> Vec<f64> {
    let input = json!({ "name": "image", "datatype": "FP32", "shape": shape, "data": images });
    let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let output = &reply.json()["outputs"][0];
    assert_eq!(output["shape"][0], shape[0], "{output}");
    output["data"].as_array().expect("numbers").iter().map(|number| number.as_f64().expect("a number")).collect()
}

async fn shape_of_rows(server: &Server, rows: usize) -> Vec<usize> {
    let metadata: Value = server.get("/v2/models/p.infer").await.json();
    let shape = metadata["inputs"][0]["shape"].as_array().expect("a shape").clone();
    let others = shape.iter().skip(1).map(|size| size.as_i64().expect("a number") as usize);
    std::iter::once(rows).chain(others).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_meets_no_new_shape_after_it_is_ready() {
    let device = Device::of("ready");
    let model = "file = \"bundled:digits.onnx\"\nbackend = \"simulated\"\nmax_batch = 16\nmax_delay = \"20ms\"\n\
                 options = { device = \"ready\", sessions = 2, new_shape_ms = 5, row_ms = 1 }";
    let server = Arc::new(Server::start(&config(model)).await);
    let models = server.get("/v1/models").await.json();
    assert_eq!(models["models"][0]["input_with_new_shapes"], Value::Null, "{models}");
    let prepared = device.take_new_shapes();
    for size in [1, 2, 4, 8, 16] {
        let sessions = prepared.iter().filter(|shapes| shapes[0][0] == size).count();
        assert_eq!(sessions, 2, "each session has prepared itself for {size} rows: {prepared:?}");
    }
    device.take_runs();

    for callers in [3, 16, 1, 7, 11] {
        recognise_at_once(&server, (0..callers).map(|caller| [0, 1, 2, 4, 5, 6, 8, 9][caller % 8])).await;
    }
    assert_eq!(device.take_new_shapes(), Vec::<Vec<Vec<u32>>>::new(), "a new shape while requests are served");
    let runs = device.take_runs();
    println!("rows of the runs: {runs:?}");
    assert!(runs.iter().any(|&rows| rows > 2), "no requests shared a batch: {runs:?}");
    assert!(runs.iter().all(|rows| [1, 2, 4, 8, 16].contains(rows)), "{runs:?}");

    // More rows than a batch, and numbers between the sizes.
    let row = shape_of_rows(&server, 1).await.iter().product::<usize>();
    let all: Vec<f32> = images(row * 37 / 64 + 1)[..row * 37].to_vec();
    let mut alone = Vec::new();
    for image in all.chunks(row) {
        alone.push(infer(&server, image, &shape_of_rows(&server, 1).await).await);
    }
    for rows in [3, 16, 37] {
        let together = infer(&server, &all[..rows * row], &shape_of_rows(&server, rows).await).await;
        assert_eq!(together.len(), rows * alone[0].len(), "no row more and none less");
        for (together, alone) in together.chunks(alone[0].len()).zip(&alone) {
            let differ = together.iter().zip(alone).any(|(a, b)| (a - b).abs() > 1e-3 * b.abs().max(1.0));
            assert!(!differ, "{rows} rows: {together:?}, alone {alone:?}");
        }
    }
    assert_eq!(device.take_new_shapes(), Vec::<Vec<Vec<u32>>>::new());
    let text = server.get("/metrics").await.text;
    assert!(metric(&text, "plimsoll_model_padding_rows_total{model=\"m\"}") >= 4.0, "{text}");
}

/// Without batches the one shape of the model is prepared.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_batches_is_prepared_for_its_shape() {
    let device = Device::of("single");
    let options = "options = { device = \"single\", sessions = 3 }";
    let model = format!("file = \"bundled:digits.onnx\"\nbackend = \"simulated\"\n{options}");
    let server = Server::start(&config(&model)).await;
    let prepared = device.take_new_shapes();
    assert_eq!(prepared.iter().filter(|shapes| shapes[0][0] == 1).count(), 3, "{prepared:?}");
    let body = std::fs::read(data("digits/4.png")).expect("a digit");
    assert_eq!(server.infer("p", "", body).await.status, 200);
    assert_eq!(device.take_new_shapes().len(), 0);
    // A caller may send other numbers of rows, each of which is a new shape.
    let models = server.get("/v1/models").await.json();
    assert_eq!(models["models"][0]["input_with_new_shapes"], "image", "{models}");
}

/// No batch size prevents new shapes if height and width are dynamic.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_with_dynamic_height_and_width_is_named() {
    let device = Device::of("dynamic");
    let folder = TempDir::new().expect("a folder");
    let weights: Vec<f32> = (0..10).map(|place| place as f32).collect();
    let model = Onnx::new(17)
        .input("image", &[None, Some(1), None, None])
        .floats("w", &[1, 10], &weights)
        .node("GlobalAveragePool", &["image"], "mean", &[])
        .node("Flatten", &["mean"], "f", &[("axis", 1)])
        .node("MatMul", &["f", "w"], "logits", &[])
        .output("logits", &[None, Some(10)]);
    let file = folder.path().join("dynamic.onnx");
    std::fs::write(&file, model.bytes()).expect("written");
    for batches in ["", "max_batch = 4\n"] {
        let model =
            format!("file = {file:?}\nbackend = \"simulated\"\noptions = {{ device = \"dynamic\" }}\n{batches}");
        let server = Server::start(&config(&model)).await;
        let models = server.get("/v1/models").await.json();
        assert_eq!(models["models"][0]["input_with_new_shapes"], "image", "{batches}{models}");
        // Each new size is one more shape of the device.
        device.take_new_shapes();
        for (size, is_new) in [(19, true), (21, true), (19, false)] {
            let pixels = vec![0.5; size * size];
            let input = json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, size, size], "data": pixels });
            let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let expected = usize::from(is_new);
            assert_eq!(device.take_new_shapes().len(), expected, "{batches}{size}");
        }
        server.stop().await;
    }
}

/// The backends, with what the configuration needs for each.
fn backends() -> Vec<(&'static str, Option<PathBuf>)> {
    let onnxruntime = crate::models::onnxruntime().map(|library| ("onnxruntime", Some(library)));
    [("rten", None)].into_iter().chain(onnxruntime).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_sizes_are_used_on_every_backend_and_change_no_answer() {
    for (backend, library) in backends() {
        let library = library.map_or(String::new(), |path| format!("[backends.onnxruntime]\nlibrary = {path:?}\n"));
        let model = format!("file = \"bundled:digits.onnx\"\nbackend = \"{backend}\"\n");
        let plain = Server::start(&format!("{library}{}", config(&model))).await;
        let padded = format!("{model}max_batch = 6\nbatch_sizes = [4, 6]\n");
        let padded = Server::start(&format!("{library}{}", config(&padded))).await;
        let row = shape_of_rows(&plain, 1).await.iter().product::<usize>();
        let before = metric_of_padding(&padded).await;
        for rows in [1, 4, 5, 9] {
            let images: Vec<f32> = images(row * rows / 64 + 1)[..row * rows].to_vec();
            let shape = shape_of_rows(&plain, rows).await;
            let (expected, found) = (infer(&plain, &images, &shape).await, infer(&padded, &images, &shape).await);
            assert_eq!(expected.len(), found.len());
            let differ = expected.iter().zip(&found).any(|(a, b)| (a - b).abs() > 1e-3 * a.abs().max(1.0));
            assert!(!differ, "{backend}, {rows} rows: {found:?}, without padding {expected:?}");
        }
        // 1 to 4, 5 to 6, and 9 as 6 and 3 to 4.
        assert_eq!(metric_of_padding(&padded).await - before, 5.0, "{backend}");
    }
}

async fn metric_of_padding(server: &Server) -> f64 {
    metric(&server.get("/metrics").await.text, "plimsoll_model_padding_rows_total{model=\"m\"}")
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_sizes_that_cannot_be_used_are_refused_with_their_key() {
    let file = "file = \"bundled:digits.onnx\"";
    let batches = format!("{file}\nmax_batch = 8\n");
    for (sizes, reason) in [
        ("[]", "at least one size"),
        ("[0, 8]", "must not contain 0"),
        ("[4, 2, 8]", "ascending order without repetitions: 2 comes after 4"),
        ("[4, 4, 8]", "ascending order without repetitions: 4 comes after 4"),
        ("[1, 16]", "16 is larger than `max_batch`, which is 8"),
        ("[1, 4]", "the last size is 4, but batches may have up to 8 rows"),
    ] {
        let message = Server::rejection(&config(&format!("{batches}batch_sizes = {sizes}"))).await;
        assert!(message.contains("models.m.batch_sizes") && message.contains(reason), "{sizes}: {message}");
    }
    let message = Server::rejection(&config(&format!("{file}\nbatch_sizes = [1, 2]"))).await;
    assert!(message.contains("models.m.batch_sizes: has no effect without `max_batch`"), "{message}");
    let message = Server::rejection(&config(&format!("{file}\nmax_batch = 9000\nbatch_sizes = [9000]"))).await;
    assert!(message.contains("models.m.batch_sizes") && message.contains("4096 is the most"), "{message}");
    Device::of("refused");
    let many = format!("{file}\nbackend = \"simulated\"\nmax_batch = 9000");
    let message = Server::rejection(&config(&many)).await;
    assert!(message.contains("models.m: `max_batch`: 9000 rows are too many"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_a_provider_does_not_accept_are_refused_with_its_message() {
    Device::of("options");
    let model = |backend: &str, options: &str| {
        config(&format!("file = \"bundled:digits.onnx\"\nbackend = \"{backend}\"\noptions = {options}"))
    };
    let message = Server::rejection(&model("simulated", "{ device = \"options\", run_sm = 1 }")).await;
    assert!(message.contains("models.m: simulated: unknown provider option: \"run_sm\""), "{message}");
    let message = Server::rejection(&model("simulated", "{ device = \"options\", run_ms = \"x\" }")).await;
    assert!(message.contains("failed to parse provider option: \"run_ms\""), "{message}");
    let message = Server::rejection(&model("simulated", "{ run_ms = [1] }")).await;
    assert!(message.contains("models.m.options.run_ms: must be a text, a number"), "{message}");
    let message = Server::rejection(&model("rten", "{ threads = 1 }")).await;
    assert!(message.contains("models.m: options: the backend `rten` has no options; remove `threads`"), "{message}");
    let Some(library) = crate::models::onnxruntime() else { return };
    let onnxruntime = |lines: &str| {
        let model = format!("file = \"bundled:digits.onnx\"\nbackend = \"onnxruntime\"\n{lines}");
        format!("[backends.onnxruntime]\nlibrary = {library:?}\n{}", config(&model))
    };
    let message = Server::rejection(&onnxruntime("options = { gpu_mem_limit = 1 }")).await;
    assert!(message.contains("the target `cpu` has no execution provider with options"), "{message}");
    let message = Server::rejection(&onnxruntime("target = \"cuda\"\noptions = { enable_cuda_graph = true }")).await;
    assert!(message.contains("`enable_cuda_graph` cannot be set"), "{message}");
}
