//! The Open Inference Protocol over REST: metadata, JSON in both directions, all datatypes, errors.

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

fn error(reply: &Reply) -> (u16, String, String) {
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
    assert_eq!(model["inputs"], json!([{ "name": "image", "datatype": "BYTES", "shape": [1] }]));
    assert_eq!(model["outputs"], json!([{ "name": "output", "datatype": "BYTES", "shape": [1] }]));
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
async fn oip_the_infer_model_takes_the_tensors_of_the_network() {
    let server = demo().await;
    let metadata = server.get("/v2/models/digits.infer").await.json();
    let (input, output) = (&metadata["inputs"][0]["name"], &metadata["outputs"][0]["name"]);
    let shape: Vec<i64> = serde_json::from_value(metadata["inputs"][0]["shape"].clone()).expect("numbers");
    let shape: Vec<i64> = shape.into_iter().map(|size| size.max(1)).collect();
    let count = shape.iter().product::<i64>() as usize;
    let flat = vec![0.5; count];
    let nested: Vec<Vec<Vec<&[f64]>>> = vec![vec![flat.chunks(8).collect()]];
    let request =
        |data: Value| json!({ "inputs": [{ "name": input, "shape": shape, "datatype": "FP32", "data": data }] });
    let from_flat = server.infer_json("digits.infer", &request(json!(flat))).await;
    let from_nested = server.infer_json("digits.infer", &request(json!(nested))).await;
    assert_eq!((from_flat.status, from_nested.status), (200, 200), "{} {}", from_flat.text, from_nested.text);
    let (flat, nested) = (from_flat.json(), from_nested.json());
    assert_eq!(flat["outputs"], nested["outputs"]);
    assert_eq!((&flat["outputs"][0]["name"], &flat["outputs"][0]["datatype"]), (output, &json!("FP32")));
    assert_eq!(flat["outputs"][0]["data"].as_array().expect("numbers").len(), 10);
    let header = from_flat.headers["x-plimsoll-memory"].to_str().expect("text");
    assert!(header.starts_with("infer=") && !header.contains(','), "only the infer stage ran: {header}");

    let with = |member: &str, value: Value| {
        let mut input = json!({ "name": input, "shape": shape, "datatype": "FP32", "data": vec![0.5; count] });
        input[member] = value;
        json!({ "inputs": [input] })
    };
    for (request, code, word) in [
        (with("name", json!("nonsense")), "tensor_mismatch", "has no input `nonsense`"),
        (with("shape", json!([1, 1, 4, 16])), "tensor_mismatch", "is expected"),
        (with("datatype", json!("FP64")), "tensor_mismatch", "fp32 is expected, fp64 was given"),
        (with("data", json!([1.0, 2.0])), "invalid_input", "`data` has 2"),
        (with("data", json!(vec!["x"; count])), "invalid_input", "a string is not a valid FP32 value"),
        (with("data", json!(vec![0.5; count + 1])), "invalid_input", "has more"),
        (with("datatype", json!("FP8")), "invalid_input", "there is no datatype `FP8`"),
        (with("shape", json!([u64::MAX, 2])), "invalid_input", "too many elements"),
        (with("shape", json!([-1, 64])), "invalid_input", "invalid value"),
        (json!({ "inputs": [] }), "tensor_mismatch", "is missing"),
        (json!({}), "invalid_input", "inputs"),
        (json!([]), "invalid_input", "not a valid inference request"),
    ] {
        let reply = server.infer_json("digits.infer", &request).await;
        let (status, found, text) = error(&reply);
        assert_eq!((status, found.as_str()), (400, code), "{request}: {text}");
        assert!(text.contains(word), "{request}: {text}");
    }
    let mut wanted = request(json!(vec![0.5; count]));
    wanted["outputs"] = json!([{ "name": "ghost" }]);
    let (status, _, text) = error(&server.infer_json("digits.infer", &wanted).await);
    assert!(status == 400 && text.contains("has no output `ghost`"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_every_datatype_in_json_reaches_the_stage_and_is_returned() {
    let server = echo().await;
    // A datatype that `wasi:nn` does not have is returned as the next wider type.
    for (datatype, data, given) in [
        ("BOOL", json!([true, false, 1]), ("UINT8", json!([1, 0, 1]))),
        ("UINT8", json!([0, 255, 7]), ("UINT8", json!([0, 255, 7]))),
        ("UINT16", json!([0, 65535, 7]), ("INT32", json!([0, 65535, 7]))),
        ("UINT32", json!([0, 4_294_967_295_u32, 7]), ("INT64", json!([0, 4_294_967_295_u32, 7]))),
        ("UINT64", json!([0, i64::MAX, 7]), ("INT64", json!([0, i64::MAX, 7]))),
        ("INT8", json!([-128, 127, 7]), ("INT32", json!([-128, 127, 7]))),
        ("INT16", json!([-32768, 32767, 7]), ("INT32", json!([-32768, 32767, 7]))),
        ("INT32", json!([i32::MIN, i32::MAX, 7]), ("INT32", json!([i32::MIN, i32::MAX, 7]))),
        ("INT64", json!([i64::MIN, i64::MAX, 7]), ("INT64", json!([i64::MIN, i64::MAX, 7]))),
        ("FP32", json!([-0.5, 1, 1e10]), ("FP32", json!([-0.5, 1.0, 1e10]))),
        ("FP64", json!([-0.1, 1, 1e300]), ("FP64", json!([-0.1, 1.0, 1e300]))),
    ] {
        let input = json!({ "name": "x", "shape": [3, 1], "datatype": datatype, "data": data });
        let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
        assert_eq!(reply.status, 200, "{datatype}: {}", reply.text);
        let output = reply.json()["outputs"][0].clone();
        assert_eq!((&output["datatype"], &output["data"]), (&json!(given.0), &given.1), "{datatype}");
        assert_eq!(output["shape"], json!([3, 1]));
    }
    for (datatype, data, word) in [
        ("BOOL", json!([2]), "2 is not a valid BOOL value"),
        ("UINT8", json!([256]), "256 is not a valid UINT8 value"),
        ("UINT8", json!([-1]), "-1 is not a valid UINT8 value"),
        ("INT8", json!([1.5]), "1.5 is not a valid INT8 value"),
        ("UINT64", json!([u64::MAX]), "is larger"),
        ("FP32", json!([1e300]), "is not a valid FP32 value"),
        ("FP16", json!([1.0]), "FP16 has no JSON form"),
        ("BF16", json!([1.0]), "BF16 has no JSON form"),
        ("BYTES", json!(["x"]), "takes numeric tensors, not BYTES"),
        ("INT32", json!([null]), "null"),
        ("INT32", json!({ "a": 1 }), "INT32"),
    ] {
        let input = json!({ "name": "x", "shape": [1], "datatype": datatype, "data": data });
        let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
        let (status, _, text) = error(&reply);
        assert!(status == 400 && text.contains(word) && text.contains("`x`"), "{datatype}: {text}");
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
    ] {
        let (found, _, text) = error(&infer(parameters).await);
        assert!(found == status && text.contains(word), "{text}");
    }
    // Requests that do not reach a stage are counted, too.
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("outcome=\"invalid_input\"} 6"), "{metrics}");
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
