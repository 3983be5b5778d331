//! Runs the suites in `tests/conformance`: unmodified clients from PyPI against the real server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll::config::DEMO;
use plimsoll_tests::{Server, TempDir, guests_config};
use serde_json::{Value, json};

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// Skips a test because a prerequisite is missing.
///
/// # Panics
/// If `CI` or `PLIMSOLL_CONFORMANCE` is set.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    let required = ["CI", "PLIMSOLL_CONFORMANCE"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "{reason}, and CI must not skip");
    eprintln!("SKIPPED: {reason}");
    None
}

/// The Python of a virtual environment with these requirements. The environment is created once, below `target`.
pub(crate) fn environment(requirements: &str) -> Option<PathBuf> {
    let file = suite().join(requirements);
    let wanted = std::fs::read_to_string(&file).expect("there");
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance").join(file.file_stem().expect("a name"));
    let stamp = folder.join("requirements.txt");
    let python = folder.join("bin/python");
    // Tests may run in separate processes, and two of them may need the same environment at the same time.
    std::fs::create_dir_all(folder.parent().expect("below target")).expect("writable");
    let lock = std::fs::File::create(folder.with_extension("lock")).expect("writable");
    lock.lock().expect("locked");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Some(python);
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    if !made.is_ok_and(|status| status.success()) {
        return skip("python3 with venv is missing, so the clients of the protocol are not tested");
    }
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let installed = Command::new(&python).args(arguments).arg(&file).status();
    if !installed.is_ok_and(|status| status.success()) {
        return skip("pip cannot install the clients of the protocol, so they are not tested");
    }
    std::fs::write(&stamp, wanted).expect("written");
    Some(python)
}

/// A server with the demo and a pipeline of test guests.
async fn server() -> Server {
    Server::start(&format!("{DEMO}\n{}", guests_config("tester", ""))).await
}

async fn run_pytest(python: &Path, files: &[&str]) {
    run_pytest_with(server().await, python, files).await;
}

async fn run_pytest_with(server: Server, python: &Path, files: &[&str]) {
    let mut command = Command::new(python);
    command.current_dir(suite()).env("PLIMSOLL_ADDRESS", &server.url["http://".len()..]);
    command.env("PLIMSOLL_ADMIN_TOKEN", server.token.as_deref().expect("the server made a token"));
    command.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--strict-markers"]).args(files);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("skipped"), "no test may be skipped: {text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_conformance_with_tritonclient_and_kserve() {
    let Some(python) = environment("requirements.txt") else { return };
    run_pytest(&python, &["test_triton_http.py", "test_triton_grpc.py", "test_triton_aio.py"]).await;
    // In a separate process, because both clients register the same protobuf messages, and a process can do that only once.
    run_pytest(&python, &["test_kserve.py"]).await;
    run_pytest(&python, &["test_examples.py"]).await;
    // The server has its default settings.
    run_pytest(&python, &["test_triton_load.py"]).await;
}

/// Models of every element type on onnxruntime.
#[tokio::test(flavor = "multi_thread")]
async fn oip_conformance_with_tritonclient_in_every_type() {
    let (Some(python), Some(library)) = (environment("requirements.txt"), crate::models::onnxruntime()) else { return };
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(&crate::tensor_types::all_on_onnxruntime(folder.path(), &library)).await;
    run_pytest_with(server, &python, &["test_triton_types.py"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_fuzz_schemathesis_finds_no_server_error() {
    let Some(python) = environment("requirements.txt") else { return };
    run_pytest(&python, &["test_schemathesis.py"]).await;
}

/// `mlserver infer` reads requests from a file, one per line, and writes the responses to another file. It drops the
/// parameters of inputs, so it cannot send images as base64, but it can send tensors.
#[tokio::test(flavor = "multi_thread")]
async fn oip_conformance_with_the_command_line_of_mlserver() {
    let Some(python) = environment("requirements-mlserver.txt") else { return };
    let server = server().await;
    let folder = TempDir::new().expect("a folder");
    let (input, output) = (folder.path().join("input.jsonl"), folder.path().join("output.jsonl"));
    let metadata = server.get("/v2/models/digits.infer").await.json();
    let request = |row: usize| {
        let data: Vec<f64> = (0..64).map(|pixel| f64::from(u8::from(pixel % (row + 2) == 0))).collect();
        json!({ "id": row.to_string(), "inputs": [{ "name": metadata["inputs"][0]["name"], "shape": [1, 1, 8, 8],
                                                    "datatype": "FP32", "data": data }] })
    };
    let rows = 0..5;
    std::fs::write(&input, rows.clone().map(|row| format!("{}\n", request(row))).collect::<String>()).expect("written");
    let mut command = Command::new(&python);
    command.args([
        "-c",
        "from mlserver.cli import main; main()",
        "infer",
        "--transport",
        "rest",
        "--model-name",
        "digits.infer",
    ]);
    command.args(["--url", &server.url["http://".len()..]]);
    command.arg("--input-data-path").arg(&input).arg("--output-data-path").arg(&output);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts");
    let log = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{log}");
    let written = std::fs::read_to_string(&output).unwrap_or_else(|error| panic!("{error}: {log}"));
    let mut answers: BTreeMap<u64, Value> = BTreeMap::new();
    for line in written.lines() {
        let response: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let index = response["parameters"]["batch_index"].as_u64().unwrap_or_else(|| panic!("{line}"));
        answers.insert(index, response["outputs"][0]["data"].clone());
    }
    assert_eq!(answers.len(), rows.len(), "{written} {log}");
    for row in rows {
        let direct = server.infer_json("digits.infer", &request(row)).await.json();
        let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).expect("numbers") };
        let (direct, by_mlserver) = (numbers(&direct["outputs"][0]["data"]), numbers(&answers[&(row as u64)]));
        let are_equal = direct.iter().zip(&by_mlserver).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(direct.len() == 10 && by_mlserver.len() == 10 && are_equal, "{direct:?} {by_mlserver:?}");
    }
    server.stop().await;
}
