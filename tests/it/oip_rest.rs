//! The Open Inference Protocol over REST: metadata, images in JSON, parameters, outcomes and errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll::config::Config;
use plimsoll_tests::{Reply, Server, data, guests_config};
use serde_json::{Value, json};

/// A server with the bundled demo.
pub(crate) async fn demo() -> Server {
    Server::with_config(&Config::load(None).expect("the demo parses")).await
}

/// A server whose model `p.infer` returns its inputs.
pub(crate) async fn echo() -> Server {
    Server::start(&guests_config("tester", "")).await
}

pub(crate) fn digit(name: &str) -> Vec<u8> {
    std::fs::read(data(&format!("digits/{name}"))).expect("present")
}

/// An input tensor of images in base64.
pub(crate) fn images(images: &[&[u8]]) -> Value {
    let texts: Vec<_> = images.iter().map(|image| STANDARD.encode(image)).collect();
    json!({ "name": "image", "shape": [images.len()], "datatype": "BYTES",
            "parameters": { "content_type": "base64" }, "data": texts })
}

/// The first label in a reply of `classify-postprocess`.
pub(crate) fn label(text: &str) -> String {
    let reply: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    reply["predictions"][0]["label"].as_str().expect("a label").to_owned()
}

pub(crate) fn error(reply: &Reply) -> (u16, String, String) {
    let body = reply.json();
    let text = |member: &str| body[member].as_str().unwrap_or_else(|| panic!("no {member} in {body}")).to_owned();
    assert_eq!(body["error"], body["detail"], "{body}");
    assert_eq!(body["status"], reply.status, "{body}");
    (reply.status, text("code"), text("error"))
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_metadata_names_server_models_versions_and_tensors() {
    let server = demo().await;
    for path in ["/v2", "/v2/"] {
        let body = server.get(path).await.json();
        assert_eq!((&body["name"], &body["version"]), (&json!("plimsoll"), &json!(env!("CARGO_PKG_VERSION"))));
        let extensions = body["extensions"].as_array().expect("a list");
        assert!(extensions.contains(&json!("binary_tensor_data")), "{body}");
    }
    let model = server.get("/v2/models/digits").await.json();
    assert_eq!(model["inputs"], json!([{ "name": "image", "datatype": "BYTES", "shape": [-1] }]));
    assert_eq!(model["outputs"], json!([{ "name": "output", "datatype": "BYTES", "shape": [-1] }]));
    let version = model["versions"][0].as_str().expect("a version").to_owned();
    assert!(version.bytes().all(|byte| byte.is_ascii_digit()), "Triton's clients expect only digits: {version}");

    let infer = server.get("/v2/models/digits.infer").await.json();
    assert_eq!(infer["inputs"][0]["datatype"], "FP32");
    assert_eq!(infer["inputs"][0]["shape"].as_array().expect("a shape").len(), 4, "{infer}");
    assert_eq!(infer["versions"], model["versions"]);
    for name in ["digits", "digits.infer"] {
        let of_version = format!("/v2/models/{name}/versions/{version}");
        assert_eq!(server.get(&of_version).await.json()["name"], name);
        for path in [format!("/v2/models/{name}/ready"), format!("{of_version}/ready")] {
            let reply = server.get(&path).await;
            assert_eq!((reply.status, reply.json()), (200, json!({ "name": name, "ready": true })));
        }
    }
    // The same plugins and models have the same version in every process.
    let other = demo().await;
    assert_eq!(other.get("/v2/models/digits").await.json()["versions"][0], version);

    for (path, word) in [
        ("/v2/models/ghost", "digits.infer"),
        ("/v2/models/ghost/ready", "digits"),
        ("/v2/models/digits/versions/7", &version),
        ("/v2/models/digits/versions/7/ready", &version),
        ("/v2/models/digits/versions/7/stats", &version),
        ("/v2/models/%FF", "UTF-8"),
        ("/v2/nothing", "/openapi.json"),
    ] {
        let (status, code, text) = error(&server.get(path).await);
        assert_eq!((status, code.as_str()), (404, "not_found"), "{path}: {text}");
        assert!(text.contains(word), "{path}: {text}");
    }
    let reply = server.send("POST", "/v2/models/digits/versions/7/infer", &[], b"{}".to_vec()).await;
    assert_eq!(error(&reply).0, 404, "{}", reply.text);
    assert_eq!(error(&server.get("/v2/models/digits/infer").await).0, 405);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_json_request_with_an_image_returns_the_reply_of_postprocessing() {
    let server = demo().await;
    let request = json!({ "id": "mine", "inputs": [images(&[&digit("7.jpg")])] });
    let reply = server.infer_json("digits", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert_eq!((&body["model_name"], &body["id"]), (&json!("digits"), &json!("mine")));
    let output = &body["outputs"][0];
    assert_eq!(
        (&output["name"], &output["datatype"], &output["shape"]),
        (&json!("output"), &json!("BYTES"), &json!([1]))
    );
    assert_eq!(output["parameters"]["content_type"], "application/json");
    assert_eq!(label(output["data"][0].as_str().expect("text")), "7");
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.headers["x-request-id"], "mine");
    assert_eq!(reply.headers["x-plimsoll-chip"], "native");
    for stage in ["preprocess", "infer", "postprocess"] {
        assert!(reply.high_water(stage) > 0);
        assert!(reply.headers["server-timing"].to_str().expect("text").contains(&format!("{stage};dur=")));
    }

    let version = body["model_version"].as_str().expect("a version");
    let chip = json!({ "parameters": { "chip": "wasm" }, "inputs": [images(&[&digit("3.jpg")])] });
    let path = format!("/v2/models/digits/versions/{version}/infer");
    let reply = server.send("POST", &path, &[], chip.to_string().into_bytes()).await;
    assert_eq!(reply.headers["x-plimsoll-chip"], "wasm", "{}", reply.text);
    assert!(reply.json().get("id").is_none());
    assert_eq!(label(reply.json()["outputs"][0]["data"][0].as_str().expect("text")), "3");

    // Both requests are counted like all others.
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert_eq!(row["pipeline"], "digits");
    let metrics = server.get("/metrics").await.text;
    for chip in ["native", "wasm"] {
        let line = format!("plimsoll_requests_total{{pipeline=\"digits\",chip=\"{chip}\",outcome=\"ok\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_parameters_reach_the_stages_and_every_outcome_has_its_status() {
    let server = Server::start(&guests_config("tester", "max_memory = \"32MiB\"")).await;
    let infer = async |parameters: Value| {
        let request = json!({ "id": "t", "parameters": parameters, "inputs": [images(&[b"x"])] });
        server.infer_json("p", &request).await
    };
    assert_eq!(infer(json!({ "do": "ok" })).await.status, 200);
    let reply = infer(json!({ "do": "alloc", "bytes": 1_000_000 })).await;
    assert_eq!(reply.status, 200, "the stage gets numbers as text: {}", reply.text);
    for (what, status, code, stage) in [
        ("unsupported", 415, "unsupported_media_type", "preprocess"),
        ("invalid", 422, "invalid_input", "preprocess"),
        ("large", 413, "too_large", "preprocess"),
        ("internal", 500, "internal", "preprocess"),
        ("panic", 500, "trap", "preprocess"),
        ("grow", 413, "memory_limit", "preprocess"),
    ] {
        let reply = infer(json!({ "do": what })).await;
        assert_eq!((error(&reply).0, error(&reply).1.as_str()), (status, code), "{}", reply.text);
        let body = reply.json();
        assert_eq!(
            (&body["stage"], &body["plugin"], &body["request_id"]),
            (&json!(stage), &json!("tester"), &json!("t"))
        );
        assert_eq!(reply.headers["content-type"], "application/json");
        assert!(reply.high_water("preprocess") > 0);
    }
    let reply = infer(json!({ "do": "sleep", "ms": 60000, "timeout": 200_000 })).await;
    assert_eq!((error(&reply).0, error(&reply).1.as_str()), (504, "deadline"), "{}", reply.text);
    let reply = infer(json!({ "do": "loop", "timeout": 200_000 })).await;
    assert_eq!(error(&reply).1, "deadline", "{}", reply.text);

    for (parameters, status, word) in [
        (json!({ "chip": "abacus" }), 404, "has no chip `abacus`; it has echo"),
        (json!({ "chip": 7 }), 400, "`chip` must be"),
        (json!({ "timeout": -1 }), 400, "`timeout` must be"),
        (json!({ "partial": "yes" }), 400, "`partial` must be"),
        (json!({ "nested": { "a": 1 } }), 400, "a parameter: a string, a number"),
        (
            json!({ "long": "x".repeat(65_533) }),
            400,
            "have 65537 bytes, and 65536 are allowed; send large values as an input",
        ),
    ] {
        let (found, _, text) = error(&infer(parameters).await);
        assert!(found == status && text.contains(word), "{text}");
    }
    // Requests that do not reach a stage are counted, too.
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("outcome=\"invalid_input\"} 7"), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_inputs_that_are_not_images_are_refused_with_a_hint() {
    let server = demo().await;
    let input = |name: &str, datatype: &str, data: Value| json!({ "name": name, "shape": [1], "datatype": datatype, "data": data });
    for (inputs, word) in [
        (json!([input("picture", "BYTES", json!(["x"]))]), "has no input `picture`; it takes `image`"),
        (json!([input("image", "UINT8", json!([1]))]), "`digits.infer` takes tensors"),
        (json!([]), "takes one input, `image`, but 0 were given"),
        (json!([input("image", "BYTES", json!([1]))]), "1 is not a valid BYTES value"),
        (json!([{ "name": "image", "shape": [1], "datatype": "BYTES" }]), "neither `data` nor"),
        (json!([{ "name": "image", "shape": [0], "datatype": "BYTES", "data": [] }]), "1 to 256 images"),
        (json!([{ "name": "image", "shape": [300], "datatype": "BYTES", "data": vec![""; 300] }]), "1 to 256 images"),
        (
            json!([{ "name": "image", "shape": [1], "datatype": "BYTES", "data": ["?"],
                  "parameters": { "content_type": "base64" } }]),
            "not valid base64",
        ),
    ] {
        let (status, code, text) = error(&server.infer_json("digits", &json!({ "inputs": inputs })).await);
        assert_eq!((status, code.as_str()), (400, "invalid_input"), "{text}");
        assert!(text.contains(word), "{text}");
    }
    server.stop().await;
}

/// A reply that ignored these parameters would be read wrongly: from shared memory that has old numbers, or scores as classes.
#[tokio::test(flavor = "multi_thread")]
async fn oip_shared_memory_and_classification_are_refused_by_name() {
    const PATH: &str = "/v2/models/p.infer/infer";
    let server = echo().await;
    let input = json!({ "name": "x", "shape": [1], "datatype": "FP32", "data": [1.0] });
    let request =
        |input: &Value, outputs: Value| json!({ "inputs": [input], "outputs": outputs }).to_string().into_bytes();
    let plain = server.send("POST", PATH, &[], request(&input, json!([]))).await;
    assert_eq!(plain.status, 200, "{}", plain.text);
    let name = plain.json()["outputs"][0]["name"].as_str().expect("a name").to_owned();
    for (parameter, value) in
        [("shared_memory_region", json!("r")), ("shared_memory_byte_size", json!(4)), ("classification", json!(3))]
    {
        let outputs = json!([{ "name": name, "parameters": { parameter: value } }]);
        let (status, code, text) = error(&server.send("POST", PATH, &[], request(&input, outputs)).await);
        assert_eq!((status, code.as_str()), (400, "invalid_input"), "{text}");
        assert!(text.contains(&format!("`{name}`")) && text.contains(parameter), "{text}");
    }
    let shared = json!({ "name": "x", "shape": [1], "datatype": "FP32",
                         "parameters": { "shared_memory_region": "r", "shared_memory_byte_size": 4 } });
    let (status, code, text) = error(&server.send("POST", PATH, &[], request(&shared, json!([]))).await);
    assert_eq!((status, code.as_str()), (400, "invalid_input"), "{text}");
    assert!(text.contains("input `x`") && text.contains("shared memory is not supported"), "{text}");
}
