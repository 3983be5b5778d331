//! What a user can do next, for a server that was started on a terminal.

use std::path::Path;

/// The sample of the demo, in a checkout.
const SAMPLE: &str = "tests/data/digits/7.jpg";

/// Three lines: how to send a request to this address and pipeline, how to serve another model, and where to read more.
pub(in crate::cli) fn next_steps(address: &str, pipeline: &str, is_demo: bool) -> [String; 3] {
    let file = match is_demo && Path::new(SAMPLE).exists() {
        true => SAMPLE,
        false => "FILE",
    };
    let (option, base) = match address.strip_prefix("unix:") {
        Some(path) => (format!("--unix-socket {path} "), "http://localhost"),
        None => (String::new(), address),
    };
    let console = match address.starts_with("unix:") {
        true => String::new(),
        false => format!("; the console is {address}/"),
    };
    [
        format!("Try it:          curl {option}--data-binary @{file} {base}/v1/pipelines/{pipeline}/infer"),
        "Your own model:  plimsoll init MODEL.onnx".to_owned(),
        format!("Documentation:   README.md and host/docs, plimsoll --help{console}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::next_steps;

    #[test]
    fn the_first_line_is_a_request_that_works() {
        let [request, ..] = next_steps("http://127.0.0.1:8080", "faces", false);
        assert!(
            request.ends_with("curl --data-binary @FILE http://127.0.0.1:8080/v1/pipelines/faces/infer"),
            "{request}"
        );
        let [request, _, read] = next_steps("unix:/run/p.sock", "faces", false);
        let wanted = "curl --unix-socket /run/p.sock --data-binary @FILE http://localhost/v1/pipelines/faces/infer";
        assert!(request.ends_with(wanted) && !read.contains("console"), "{request} {read}");
    }
}
