//! Pipelines of steps for tests: their configuration and the bodies for them.

use std::path::Path;

use plimsoll_tests::{Server, guest};
use serde_json::{Value, json};

/// The plugins of the tests, each with its file.
pub(crate) fn plugins() -> String {
    let names = ["given-tensors", "transformer", "noop-infer", "echo-infer", "echo-postprocess", "gather-postprocess"];
    names.iter().map(|name| format!("[plugins.{name}]\nfile = {:?}\n", guest(name))).collect()
}

/// A step `in` of `given-tensors`.
pub(crate) const IN: &str = r#"{ name = "in", kind = "preprocess", plugin = "given-tensors" }"#;
/// A step `out` that describes gathered items.
pub(crate) const GATHER: &str =
    r#"{ name = "out", kind = "postprocess", plugin = "gather-postprocess", gather = true }"#;

/// A configuration with a pipeline `p` of these steps. `more` are other keys of its table.
pub(crate) fn config(more: &str, steps: &[&str]) -> String {
    format!("{}[pipelines.p]\n{more}\nsteps = [\n{}\n]\n", plugins(), steps.join(",\n"))
}

/// A server with a pipeline of these steps.
pub(crate) async fn server(steps: &[&str]) -> Server {
    Server::start(&config("", steps)).await
}

/// The body for `given-tensors`: f32 tensors, and the context `7`.
pub(crate) fn body(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let described = tensors.iter().map(|(name, shape, _)| json!({ "name": name, "type": "fp32", "shape": shape }));
    let text = json!({ "tensors": described.collect::<Vec<_>>(), "context": 7 }).to_string();
    let mut body = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend(tensors.iter().flat_map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes())));
    body
}

/// A body with a tensor `x` of so many rows: row 3 is `[3.0, 3.5]`.
pub(crate) fn rows(count: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..count).flat_map(|row| [row as f32, row as f32 + 0.5]).collect();
    body(&[("x", &[count, 2], &values)])
}

/// An item of [`rows`] as `gather-postprocess` describes it.
pub(crate) fn item(row: usize) -> Value {
    let data = [row as f32, row as f32 + 0.5];
    json!({ "context": format!("item {row} of 7"), "tensors": { "x": { "shape": [1, 2], "data": data } } })
}

/// A file with the sample that every version must answer, as a key of the pipeline.
pub(crate) fn sample(folder: &Path, bytes: &[u8]) -> String {
    let path = folder.join("sample");
    std::fs::write(&path, bytes).expect("written");
    format!("sample = {path:?}")
}
