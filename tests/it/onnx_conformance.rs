//! ONNX's own node tests on every backend. Each test gives the right result, or the model is rejected when it is loaded,
//! or the result is random by nature. The list `tests/data/onnx_node_tests.tsv` states which; a right test may not become
//! a rejected one.
//!
//! The tests are in the PyPI package `onnx` 1.22.0 (`onnx/backend/test/data/node`); the variable `ONNX_NODE_TESTS` names
//! their folder. With the variable `PLIMSOLL_WRITE_LIST` the list is written instead of compared.

mod exports;
mod in_wasm;
mod judge;
mod protos;
mod shipped;
mod strings;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plimsoll_runtime::nn::{Backend, BackendName, Device, LoadedModel, ModelSource};
use plimsoll_runtime::scheduling::Scheduling;
use plimsoll_runtime::tensor::Tensors;
use tokio::sync::Semaphore;

use judge::{check_message, compare_outputs};
use protos::ABSOLUTE;

/// The result of a test on a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Right,
    Rejected,
    Random,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Rejected => "rejected",
            Verdict::Random => "random",
        }
    }
}

/// Tests whose outputs are random: the expected output is one of many.
fn is_random(test: &str) -> bool {
    test.contains("bernoulli") || test.contains("training_dropout") && !test.contains("zero_ratio")
}

/// The folders of ONNX's node tests, or `None` with a reason.
fn node_tests() -> Option<Vec<PathBuf>> {
    folders("ONNX_NODE_TESTS")
}

/// The folders in the folder that a variable names.
fn folders(variable: &str) -> Option<Vec<PathBuf>> {
    let folder = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_dir());
    let Some(folder) = folder else {
        plimsoll_tests::skip(&format!("{variable} does not name a folder"));
        return None;
    };
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut tests: Vec<_> = entries.map(|entry| entry.expect("readable").path()).filter(|test| test.is_dir()).collect();
    tests.sort();
    Some(tests)
}

/// The absolute tolerance of a test. Fourier transforms compute sums of numbers up to 100 in FLOAT, of which some cancel to
/// 0; the runner's tolerance is made for double precision.
fn tolerance(test: &str) -> f64 {
    if test.starts_with("test_dft") || test.starts_with("test_stft") { 5e-4 } else { ABSOLUTE }
}

fn name(test: &Path) -> String {
    test.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Runs one test. An error means that the result is wrong, or that the model failed after it was loaded.
async fn run(backend: &dyn Backend, column: &str, test: &Path, absolute: f64) -> Result<Verdict, String> {
    let path = test.join("model.onnx");
    let bytes = Arc::new(std::fs::read(&path).expect("a model"));
    let source = ModelSource {
        name: "m".into(),
        path,
        bytes,
        external: Vec::new(),
        device: Device::Cpu,
        options: Default::default(),
    };
    let model = match backend.load(&source) {
        Ok(model) => model,
        Err(error) => {
            check_message(&error.to_string())?;
            return Ok(Verdict::Rejected);
        }
    };
    let permits = Arc::new(Semaphore::new(1));
    let model = LoadedModel::new("m".into(), String::new(), &source.bytes, model, permits, None, Scheduling::Fair);
    let model = Arc::new(model.expect("no batches"));
    for set in 0.. {
        let data = test.join(format!("test_data_set_{set}"));
        if !data.is_dir() && set > 0 {
            break;
        }
        let inputs: Result<Tensors, String> = model
            .inputs()
            .iter()
            .enumerate()
            .map(|(index, input)| {
                let value = protos::read(&data.join(format!("input_{index}.pb")))?;
                Ok((input.name.clone(), value.to_tensor(input.types.first().copied())?))
            })
            .collect();
        let outputs = Arc::clone(&model).run(inputs?).await.map_err(|error| format!("run: {}", error.message))?;
        if let Err(difference) = compare_outputs(&outputs, &data, column, absolute) {
            return if is_random(&name(test)) { Ok(Verdict::Random) } else { Err(difference) };
        }
    }
    // By chance, a random result can be the expected one.
    Ok(if is_random(&name(test)) { Verdict::Random } else { Verdict::Right })
}

fn list_path() -> PathBuf {
    plimsoll_tests::data("onnx_node_tests.tsv")
}

/// The expected verdicts of one column of the list.
pub(crate) fn expected(column: &str) -> BTreeMap<String, String> {
    let list = std::fs::read_to_string(list_path()).unwrap_or_default();
    let mut lines = list.lines();
    let head: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let Some(column) = head.iter().position(|name| *name == column) else { return BTreeMap::new() };
    lines
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            (fields[0].to_owned(), fields[column].to_owned())
        })
        .collect()
}

/// Runs all tests on a backend, and compares them with the list.
async fn check(backend: &str, settings: serde_json::Value) {
    let Some(tests) = node_tests() else { return };
    let opened = backend.parse::<BackendName>().expect("known").open(&settings, Path::new("")).expect("opened");
    let mut results = Vec::new();
    for test in &tests {
        results.push((name(test), run(&*opened, backend, test, tolerance(&name(test))).await));
    }
    compare(backend, results);
}

/// Compares the results of all tests with a column of the list.
fn compare(column: &str, results: Vec<(String, Result<Verdict, String>)>) {
    let writes = std::env::var_os("PLIMSOLL_WRITE_LIST").is_some();
    let expected = expected(column);
    let total = results.len();
    let (mut wrong, mut counts, mut found) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (name, result) in results {
        let verdict = match result {
            Ok(verdict) => verdict.as_str(),
            Err(reason) => {
                wrong.push(format!("{name}: {reason}"));
                "wrong"
            }
        };
        *counts.entry(verdict).or_insert(0) += 1;
        let before = expected.get(&name).map(String::as_str);
        // StringNormalizer needs the locale en_US.UTF-8 to change the case, which is not on every machine.
        let is_locale = name.starts_with("test_strnormalizer") && (verdict, before) == ("right", Some("rejected"));
        if verdict != "wrong" && before != Some(verdict) && !is_locale && !writes {
            wrong.push(format!("{name}: {verdict} instead of {}", before.unwrap_or("nothing")));
        }
        found.insert(name, verdict.to_owned());
    }
    // A folder that is empty or incomplete would show nothing.
    let missing = expected.iter().filter(|(name, verdict)| *verdict != "-" && !found.contains_key(*name));
    wrong.extend(missing.filter(|_| !writes).map(|(name, _)| format!("{name}: it is in the list, but did not run")));
    println!("{column}: {counts:?} of {total}");
    if writes {
        write_column(column, &found);
    }
    assert!(wrong.is_empty(), "{} of {total}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Replaces one column of the list.
fn write_column(column: &str, found: &BTreeMap<String, String>) {
    let columns = ["rten", "onnxruntime", "infer-wasm"];
    let mut all: BTreeMap<&str, BTreeMap<String, String>> =
        columns.into_iter().map(|column| (column, expected(column))).collect();
    all.insert(column, found.clone());
    let mut text = format!("test\t{}\n", columns.join("\t"));
    for test in found.keys() {
        let fields: Vec<_> = columns.map(|column| all[column].get(test).map_or("-", String::as_str)).into();
        writeln!(text, "{test}\t{}", fields.join("\t")).expect("text");
    }
    std::fs::write(list_path(), text).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_tests_are_right_or_rejected_with_rten() {
    check("rten", serde_json::Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_tests_are_right_or_rejected_with_onnxruntime() {
    let Some(library) = crate::models::onnxruntime() else { return };
    check("onnxruntime", serde_json::json!({ "library": library, "sessions": 1 })).await;
}

/// The absolute tolerance for models of many operators, in which rounding errors add up.
const GENERATED: f64 = 1e-5;

/// Parts of the messages with which the host refuses the numbers of a request.
const REFUSALS: [&str; 10] = [
    "computes i64 as i32",
    "an input of the type",
    "exceeds 32 bits",
    "exceeds 24 bits",
    "NaN or an infinity reaches node",
    "is too small for the keys",
    "does not fit the integer type",
    "loses NaN and infinities",
    "is too large at node",
    "divides by a zero whose sign",
];

/// Runs generated models on a backend. Prints what is not right, and fails if something is wrong.
async fn check_generated(backend: &str, settings: serde_json::Value, tests: &[PathBuf]) {
    let opened = backend.parse::<BackendName>().expect("known").open(&settings, Path::new("")).expect("opened");
    let mut results = Vec::new();
    for test in tests {
        results.push(run(&*opened, backend, test, GENERATED).await);
    }
    compare_generated(backend, tests, results);
}

fn compare_generated(backend: &str, tests: &[PathBuf], results: Vec<Result<Verdict, String>>) {
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    for (test, result) in tests.iter().zip(results) {
        let name = name(test);
        let kind = match result {
            Ok(verdict) => verdict.as_str(),
            // Numbers with which rten computes wrongly, such as 64-bit integers beyond 32 bits.
            Err(reason) if REFUSALS.iter().any(|refusal| reason.contains(refusal)) => "refused",
            // What a loop collects in no round has no elements. The sizes of its other dimensions are those of the body's
            // declared shapes, which the host does not trust, or 0.
            Err(reason) if name.contains("loop") && reason.ends_with(protos::EMPTY) => "empty",
            Err(reason) => {
                wrong.push(format!("{name}: {reason}"));
                "wrong"
            }
        };
        *counts.entry(kind).or_insert(0) += 1;
        if std::env::var_os("PLIMSOLL_SHOW").is_some() && kind != "right" {
            println!("{kind}: {name}");
        }
    }
    println!("{backend}: {counts:?} of {}", tests.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tests.len(), wrong.join("\n"));
    assert!(counts.get("right").is_some_and(|&right| 2 * right > tests.len()), "most are right: {counts:?}");
}

/// The models of `tests/conformance/onnx_models`; the variable `ONNX_GENERATED` names their folder.
fn generated() -> Option<Vec<PathBuf>> {
    folders("ONNX_GENERATED")
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_models_are_right_or_rejected_with_rten() {
    let Some(tests) = generated() else { return };
    check_generated("rten", serde_json::Value::Null, &tests).await;
}

/// With all optimisations that the host allows; the right answers are those without any.
#[tokio::test(flavor = "multi_thread")]
async fn generated_models_are_right_or_rejected_with_onnxruntime() {
    let (Some(library), Some(tests)) = (crate::models::onnxruntime(), generated()) else { return };
    check_generated("onnxruntime", serde_json::json!({ "library": library, "sessions": 1 }), &tests).await;
}
