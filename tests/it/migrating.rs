//! `host/docs/migrating.md`: the service before leaks and answers; the folder after gives the same answers, and its plugin
//! in Python leaks only with the errors of the service.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use plimsoll::config::Config;
use plimsoll_tests::{Server, data};
use serde_json::Value;

use crate::document_outputs::line_matches;
use crate::documents::Page;
use crate::leak::Laboratory;
use crate::oip_conformance::environment;
use crate::plugin_new::{WorkFolder, text};

const PAGE: &str = "host/docs/migrating.md";

/// The block of Python on the page that begins with this comment.
fn source(name: &str) -> String {
    let page = Page::read(PAGE);
    let blocks = page.blocks();
    let mut found = blocks.iter().filter(|block| block.language == "python");
    let found = found.find(|block| block.text.lines().next() == Some(&format!("# {name}")));
    found.unwrap_or_else(|| panic!("the page has no block `# {name}`")).text.clone()
}

/// The file of a digit.
fn picture(digit: usize) -> Vec<u8> {
    let extension = if [3, 7].contains(&digit) { "jpg" } else { "png" };
    fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit")
}

/// The frame of a scanner: twice the size of a digit of the demo.
fn frame(digit: usize) -> Vec<u8> {
    let image = image::load_from_memory(&picture(digit)).expect("an image");
    let image = image.resize_exact(16, 16, image::imageops::FilterType::Triangle).to_luma8();
    [[16, 0, 16, 0].as_slice(), image.as_raw()].concat()
}

/// The service before, on a free port.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(python: &Path, folder: &Path) -> Self {
        let mut command = Command::new(python);
        command.current_dir(folder).args(["-m", "uvicorn", "service:app", "--port", "0"]).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut log = String::new();
        let url = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the service ended: {log}")).expect("text");
            if let Some(at) = line.find("http://") {
                break line[at..].split(' ').next().expect("an address").to_owned();
            }
            log += &line;
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Posts a body. Returns the status and the reply.
    async fn post(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).body(body);
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Labels and probabilities of a reply.
fn predictions(reply: &Value) -> Vec<(String, f64)> {
    let rows = reply["predictions"].as_array().unwrap_or_else(|| panic!("no predictions: {reply}"));
    let row = |row: &Value| (row["label"].to_string(), row["probability"].as_f64().expect("a number"));
    rows.iter().map(row).collect()
}

/// Asserts that two replies have the same probability for each label, and the same best label.
fn assert_same(before: &Value, after: &Value) {
    let (before, after) = (predictions(before), predictions(after));
    assert_eq!(before[0].0, after[0].0, "{before:?} {after:?}");
    for (label, probability) in &before {
        // A label that only one of them has among its best five has a small probability.
        let other = after.iter().find(|(other, _)| other == label).map_or(0.0, |(_, probability)| *probability);
        assert!((probability - other).abs() < 0.01, "{label}: {before:?} {after:?}");
    }
}

/// Writes what a user of the page has: the service with its model, and the folder that `plimsoll init` makes.
fn start(work: &WorkFolder) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/demo");
    fs::copy(demo.join("digits.onnx"), work.path("model.onnx")).expect("copied");
    fs::copy(demo.join("digits-labels.txt"), work.path("labels.txt")).expect("copied");
    work.write("service.py", source("service.py"));
    work.run_ok(&["init", "model.onnx", "--labels", "labels.txt", "--normalisation", "unit"]);
}

/// Creates the plugin of the page and builds it. Returns false if a tool is missing.
fn build_plugin(work: &WorkFolder) -> bool {
    let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    if !Command::new("python3").args(["-c", probe]).output().is_ok_and(|output| output.status.success()) {
        plimsoll_tests::skip("plugins in Python need python3 3.10 with venv");
        return false;
    }
    work.run_ok(&["plugin", "new", "scan-preprocess", "--kind", "preprocess", "--language", "python"]);
    for file in ["compute.py", "plugin.py", "test_compute.py"] {
        assert!(work.path("scan-preprocess").join(file).is_file(), "the template has no {file}");
        work.write(&format!("scan-preprocess/{file}"), source(file));
    }
    let tests = work.command("python3", "scan-preprocess").args(["-m", "unittest"]).output().expect("it starts");
    assert!(tests.status.success(), "{}", text(&tests.stderr));
    work.run_ok(&["plugin", "build", "scan-preprocess"]);
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_before_and_the_folder_after_give_the_same_answers() {
    let Some(python) = environment("requirements-migrating.txt") else { return };
    let work = WorkFolder::new();
    start(&work);
    if !build_plugin(&work) {
        return;
    }
    let page = Page::read(PAGE);
    let blocks = page.blocks();
    let addition = blocks.iter().find(|block| block.language == "ini").expect("a configuration");
    let path = work.path("model/plimsoll.toml");
    let config = fs::read_to_string(&path).expect("a configuration") + &addition.text;
    fs::write(&path, config).expect("written");
    let server = Server::with_config(&Config::load(Some(&path)).expect("valid")).await;
    let service = Service::start(&python, &work.path(""));

    for digit in 0..10 {
        let (status, before) = service.post("/predict", picture(digit)).await;
        assert_eq!(status, 200, "{before}");
        let after = server.infer("model", "", picture(digit)).await;
        assert_same(&before, &after.json());
        let (status, before) = service.post("/predict/scan", frame(digit)).await;
        assert_eq!(status, 200, "{before}");
        let after = server.infer("scans", "", frame(digit)).await;
        assert_same(&before, &after.json());
    }
    // The same errors, by their status.
    let (whole, scan) = (picture(7), frame(7));
    for (route, pipeline, body, status) in [
        ("/predict", "model", b"no image".to_vec(), 415),
        ("/predict", "model", whole[..whole.len() / 2].to_vec(), 422),
        ("/predict/scan", "scans", b"no".to_vec(), 415),
        ("/predict/scan", "scans", vec![0, 0, 8, 0], 415),
        ("/predict/scan", "scans", scan[..100].to_vec(), 422),
    ] {
        let (before, reply) = service.post(route, body.clone()).await;
        assert_eq!(before, status, "{route}: {reply}");
        let after = server.infer(pipeline, "", body).await;
        assert_eq!(after.status, status, "{pipeline}: {}", after.text);
        assert!(after.json()["detail"].is_string(), "{}", after.text);
    }
    server.stop().await;

    // The errors of the service keep every image.
    let count = "
import io, service
from PIL import Image
whole = io.BytesIO()
Image.effect_noise((64, 64), 50).save(whole, 'PNG')
for _ in range(100):
    try:
        service.read_image(whole.getvalue()[:-1000])
    except service.ServiceError as error:
        assert error is service.TRUNCATED
kept, step = 0, service.TRUNCATED.__traceback__
while step:
    kept += 'body' in step.tb_frame.f_locals
    step = step.tb_next
print(kept)
";
    let output = Command::new(&python).current_dir(work.path("")).args(["-c", count]).output().expect("it starts");
    assert_eq!(text(&output.stdout).trim(), "100", "{}", text(&output.stderr));
}

/// What the model of the page uses of Triton's module, which only its Python backend has.
const TRITON: &str = "
class Tensor:
    def __init__(self, name, array):
        self.name, self.array = name, array
    def as_numpy(self):
        return self.array
class TritonError(Exception):
    pass
class InferenceResponse:
    def __init__(self, output_tensors=(), error=None):
        self.tensors, self.error = output_tensors, error
def get_input_tensor_by_name(request, name):
    return request[name]
";

/// Prints for each scan in the folder `scans` what the model for Triton answers, and what the code of the plugin does.
const BOTH: &str = "
import os, compute, model, numpy as np, service
import triton_python_backend_utils as pb_utils
names = sorted(os.listdir('scans'))
bodies = [open('scans/' + name, 'rb').read() for name in names]
scans = [{'scan': pb_utils.Tensor('scan', np.array([body], dtype=object))} for body in bodies]
responses = model.TritonPythonModel().execute(scans)
assert len(responses) == len(names)
for name, body, response in zip(names, bodies, responses):
    try:
        means, error = compute.means(body), None
    except ValueError as found:
        means, error = None, found
    if response.error:
        print(name, 'error' if error else 'only in Triton', error)
    else:
        [tensor] = response.tensors
        is_same = means is not None and tensor.as_numpy().shape == (1, 1, 8, 8)
        is_same = is_same and np.abs(tensor.as_numpy().ravel() - np.array(means)).max() < 1e-6
        print(name, tensor.name, is_same)
kept, step = 0, service.TRUNCATED.__traceback__
while step:
    kept += step.tb_frame.f_code.co_name == 'read_scan'
    step = step.tb_next
print('kept', kept)
";

#[test]
fn the_model_for_triton_and_the_plugin_give_the_same_tensors_and_errors() {
    let Some(python) = environment("requirements-migrating.txt") else { return };
    let work = WorkFolder::new();
    start(&work);
    for file in ["model.py", "compute.py"] {
        work.write(file, source(file));
    }
    work.write("triton_python_backend_utils.py", TRITON);
    for digit in 0..10 {
        work.write(&format!("scans/{digit}"), frame(digit));
    }
    work.write("scans/cut-off", &frame(7)[..100]);
    work.write("scans/cut-off-too", &frame(8)[..50]);
    work.write("scans/no-areas", [0, 0, 8, 0]);
    work.write("scans/no-header", "no");
    let output = Command::new(&python).current_dir(work.path("")).args(["-c", BOTH]).output().expect("it starts");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    let of_images: Vec<_> = (0..10).map(|digit| format!("{digit} image True")).collect();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[..10], of_images, "{printed}");
    for (line, words) in lines[10..].iter().zip([
        "cut-off error the scan is cut off",
        "cut-off-too error the scan is cut off",
        "no-areas error the body is not a scan",
        "no-header error the body is not a scan",
        "kept 2",
    ]) {
        assert!(line.starts_with(words), "{printed}");
    }
    assert_eq!(lines.len(), 15, "{printed}");
}

#[test]
fn the_errors_of_the_service_leak_in_the_plugin_too_and_are_found() {
    let work = WorkFolder::new();
    if !build_plugin(&work) {
        return;
    }
    for digit in 0..4 {
        work.write(&format!("frames/valid/{digit}.scan"), frame(digit));
        work.write(&format!("frames/broken/{digit}.scan"), &frame(digit)[..200]);
    }
    let plugin = work.path("scan-preprocess/scan-preprocess.wasm");
    let study = |code: i32| {
        let laboratory = Laboratory::new();
        let output = laboratory.run(&plugin, &work.path("frames"), &["--rounds", "4"]);
        let summary = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{summary}{}", text(&output.stderr));
        summary
    };
    study(0);
    work.write("scan-preprocess/plugin.py", source("plugin.py, moved as it was"));
    work.run_ok(&["plugin", "build", "scan-preprocess"]);
    let summary = study(1);
    // The lines that the page shows.
    let page = Page::read(PAGE);
    let blocks = page.blocks();
    let shown = blocks.iter().find(|block| block.text.trim_start().starts_with("held by")).expect("the lines");
    for wanted in shown.text.lines() {
        assert!(summary.lines().any(|line| line_matches(wanted, line)), "{wanted:?} is missing in {summary}");
    }
}
