//! The binary tensor data extension in both directions, raw binary requests, and compressed bodies.

use std::io::{Read, Write};

use plimsoll_tests::{Reply, Server};
use serde_json::{Value, json};

use crate::oip_rest::{demo, digit, echo, label};

const HEADER: &str = "inference-header-content-length";

/// A body of JSON and binary tensors. Returns it with the length of the JSON.
fn body(request: &Value, tails: &[&[u8]]) -> (String, Vec<u8>) {
    let json = request.to_string().into_bytes();
    (json.len().to_string(), [json.as_slice(), &tails.concat()].concat())
}

pub(crate) async fn post(server: &Server, model: &str, request: &Value, tails: &[&[u8]]) -> Reply {
    let (length, body) = body(request, tails);
    server.send("POST", &format!("/v2/models/{model}/infer"), &[(HEADER, &length)], body).await
}

/// The JSON of a reply and the binary data after it.
pub(crate) fn parts(reply: &Reply) -> (Value, Vec<u8>) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let length: usize = reply.headers[HEADER].to_str().expect("text").parse().expect("a number");
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    (serde_json::from_slice(&reply.bytes[..length]).expect("JSON"), reply.bytes[length..].to_vec())
}

fn element(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_images_and_replies_may_be_binary() {
    let server = demo().await;
    let picture = element(&digit("7.jpg"));
    let mut request = json!({ "parameters": { "binary_data_output": true }, "inputs": [{
        "name": "image", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": picture.len() } }] });
    let (json, tail) = parts(&post(&server, "digits", &request, &[&picture]).await);
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], tail.len());
    assert!(json["outputs"][0].get("data").is_none());
    let length = u32::from_le_bytes(tail[..4].try_into().expect("four")) as usize;
    assert_eq!(length, tail.len() - 4);
    assert_eq!(label(std::str::from_utf8(&tail[4..]).expect("text")), "7");

    // The parameter of an output takes precedence over that of the request, in both directions.
    request["outputs"] = json!([{ "name": "output", "parameters": { "binary_data": false } }]);
    let reply = post(&server, "digits", &request, &[&picture]).await;
    assert!(reply.status == 200 && !reply.headers.contains_key(HEADER), "{}", reply.text);
    assert_eq!(label(reply.json()["outputs"][0]["data"][0].as_str().expect("text")), "7");
    request["parameters"] = json!({});
    request["outputs"] = json!([{ "name": "output", "parameters": { "binary_data": true } }]);
    parts(&post(&server, "digits", &request, &[&picture]).await);

    // A raw binary request: the body is the image and nothing else.
    let reply = server.send("POST", "/v2/models/digits/infer", &[(HEADER, "0")], digit("3.jpg")).await;
    let (_, tail) = parts(&reply);
    assert_eq!(label(std::str::from_utf8(&tail[4..]).expect("text")), "3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_raw_binary_request_is_accepted_by_a_model_with_one_input() {
    let server = demo().await;
    let numbers: Vec<u8> = (0..64).flat_map(|_| 0.5_f32.to_le_bytes()).collect();
    let reply = server.send("POST", "/v2/models/digits.infer/infer", &[(HEADER, "0")], numbers.clone()).await;
    let (json, tail) = parts(&reply);
    assert_eq!((&json["outputs"][0]["datatype"], tail.len()), (&json!("FP32"), 40));
    let reply = server.send("POST", "/v2/models/digits.infer/infer", &[(HEADER, "0")], numbers[1..].to_vec()).await;
    assert!(reply.status == 400 && reply.text.contains("bytes"), "{}", reply.text);
    let echo = echo().await;
    let reply = echo.send("POST", "/v2/models/p.infer/infer", &[(HEADER, "0")], numbers).await;
    assert!(reply.status == 400 && reply.text.contains("a model with one input"), "{}", reply.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_every_datatype_is_accepted_in_binary() {
    let server = echo().await;
    for (datatype, bytes) in [
        ("BOOL", vec![0, 1]),
        ("UINT8", vec![0, 255]),
        ("INT8", vec![0x80, 1]),
        ("UINT16", vec![255, 255, 1, 0]),
        ("INT16", vec![0, 0x80, 1, 0]),
        ("UINT32", vec![255; 8]),
        ("INT32", vec![255; 8]),
        ("UINT64", vec![255; 16]),
        ("INT64", vec![255; 16]),
        ("FP16", vec![0, 0x3c, 0, 0xbc]),
        ("BF16", vec![0x80, 0x3f, 0, 0]),
        ("FP32", vec![7; 8]),
        ("FP64", vec![7; 16]),
    ] {
        let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [{ "name": "x", "shape": [2],
            "datatype": datatype, "parameters": { "binary_data_size": bytes.len() } }] });
        let (json, tail) = parts(&post(&server, "p.infer", &request, &[&bytes]).await);
        assert_eq!(json["outputs"][0]["datatype"], datatype);
        assert_eq!(tail, bytes, "{datatype}");
    }
    // Several inputs, one with JSON data. The binary data is in the order of the inputs.
    let request = json!({ "inputs": [
        { "name": "a", "shape": [2], "datatype": "UINT8", "parameters": { "binary_data_size": 2 } },
        { "name": "b", "shape": [1], "datatype": "INT32", "data": [5] },
        { "name": "c", "shape": [1], "datatype": "UINT8", "parameters": { "binary_data_size": 1 } }],
        "outputs": [{ "name": "c" }, { "name": "a", "parameters": { "binary_data": true } }] });
    let (json, tail) = parts(&post(&server, "p.infer", &request, &[&[1, 2], &[3]]).await);
    assert_eq!((&json["outputs"][0]["name"], &json["outputs"][0]["data"]), (&json!("c"), &json!([3])));
    assert_eq!((&json["outputs"][1]["name"], tail), (&json!("a"), vec![1, 2]));

    let half = json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "FP16",
                                    "parameters": { "binary_data_size": 2 } }] });
    let reply = post(&server, "p.infer", &half, &[&[0, 0]]).await;
    assert!(reply.status == 400 && reply.text.contains("request it with `binary_data`"), "{}", reply.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_binary_sizes_that_do_not_match_the_data_are_refused() {
    let server = echo().await;
    let input = |size: Value, shape: Value, datatype: &str| json!({ "inputs": [{ "name": "x", "shape": shape, "datatype": datatype, "parameters": { "binary_data_size": size } }] });
    for (request, tail, word) in [
        (input(json!(8), json!([2]), "FP32"), vec![0; 4], "up to the 4 bytes"),
        (input(json!(4), json!([1]), "FP32"), vec![0; 8], "4 bytes after the last binary input"),
        (input(json!(4), json!([2]), "FP32"), vec![0; 4], "needs 8 bytes, but 4 were given"),
        (input(json!(-4), json!([1]), "FP32"), vec![0; 4], "must be a number"),
        (input(json!("4"), json!([1]), "FP32"), vec![0; 4], "must be a number"),
        (input(json!(1), json!([1]), "BOOL"), vec![2], "0 or 1, not 2"),
        (input(json!(8), json!([1]), "BYTES"), vec![255, 255, 255, 255, 0, 0, 0, 0], "its length is 4294967295"),
        (input(json!(2), json!([1]), "BYTES"), vec![0, 0], "the 4 bytes of its length are missing"),
        (input(json!(5), json!([1]), "BYTES"), vec![0, 0, 0, 0, 9], "1 bytes after the 1 elements"),
        (input(json!(0), json!([u32::MAX, u32::MAX]), "BYTES"), vec![], "may have 65536 elements"),
    ] {
        let reply = post(&server, "p.infer", &request, &[&tail]).await;
        assert_eq!(reply.status, 400, "{request}: {}", reply.text);
        assert!(reply.json()["error"].as_str().expect("a sentence").contains(word), "{request}: {}", reply.text);
    }
    for length in ["-1", "9999999", "x", "99999999999999999999999999"] {
        let reply = server.send("POST", "/v2/models/p.infer/infer", &[(HEADER, length)], b"{}".to_vec()).await;
        assert!(reply.status == 400 && reply.text.contains(HEADER), "{length}: {}", reply.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_requests_and_replies_may_be_compressed() {
    let server = demo().await;
    let picture = element(&digit("7.jpg"));
    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [{
        "name": "image", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": picture.len() } }] });
    let (length, plain) = body(&request, &[&picture]);
    let level = flate2::Compression::default();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(&plain).expect("memory");
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
    zlib.write_all(&plain).expect("memory");
    for (encoding, compressed) in
        [("gzip", gzip.finish().expect("memory")), ("deflate", zlib.finish().expect("memory"))]
    {
        let headers = [(HEADER, length.as_str()), ("content-encoding", encoding), ("accept-encoding", encoding)];
        let reply = server.send("POST", "/v2/models/digits/infer", &headers, compressed.clone()).await;
        assert_eq!(reply.status, 200, "{encoding}: {}", reply.text);
        assert_eq!(reply.headers["content-encoding"], encoding);
        let mut decompressed = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&reply.bytes[..]).read_to_end(&mut decompressed),
            _ => flate2::read::ZlibDecoder::new(&reply.bytes[..]).read_to_end(&mut decompressed),
        }
        .expect("compressed");
        let header: usize = reply.headers[HEADER].to_str().expect("text").parse().expect("a number");
        assert_eq!(label(std::str::from_utf8(&decompressed[header + 4..]).expect("text")), "7", "{encoding}");

        let cut =
            server.send("POST", "/v2/models/digits/infer", &headers, compressed[..compressed.len() / 2].to_vec()).await;
        assert!(cut.status == 400 && cut.text.contains("Content-Encoding"), "{}", cut.text);
    }
    let reply = server.send("POST", "/v2/models/digits/infer", &[("content-encoding", "br")], plain).await;
    assert!(reply.status == 415 && reply.text.contains("`gzip` or `deflate`"), "{}", reply.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_the_body_limit_applies_to_decompressed_bodies() {
    let config = plimsoll_tests::guests_config("tester", "");
    let server = Server::start(&format!("[server]\nmax_body = \"1MiB\"\n{config}")).await;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 64 << 20]).expect("memory");
    let bomb = bomb.finish().expect("memory");
    assert!(bomb.len() < 1 << 20);
    let reply = server.send("POST", "/v2/models/p/infer", &[("content-encoding", "gzip")], bomb).await;
    assert!(reply.status == 413 && reply.text.contains("server.max_body"), "{}", reply.text);
    // The limit also applies to tensors: a number that is short in JSON may take eight bytes in a tensor.
    let data = vec![0; 200_000];
    let input = json!({ "name": "x", "shape": [200_000], "datatype": "FP64", "data": data });
    let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
    assert!(reply.status == 413 && reply.text.contains("server.max_body"), "{}", reply.text);
    server.stop().await;
}
