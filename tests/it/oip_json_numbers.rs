//! The Open Inference Protocol over REST: numbers in JSON are those of the tensors. What JSON does not have is refused, and
//! counted as an error.

use plimsoll_tests::Reply;
use serde_json::{Value, json};

use crate::oip_binary::{parts, post};
use crate::oip_rest::{echo, error};

/// 7.038531e-26 as a reader takes it that rounds it once. As a double it is nearer to the next number.
const ODD: u32 = 0x15ae_43fd;

fn binary_input(datatype: &str, elements: &[Vec<u8>]) -> (Value, Vec<u8>) {
    let bytes = elements.concat();
    let parameters = json!({ "binary_data_size": bytes.len() });
    (json!({ "name": "x", "shape": [elements.len()], "datatype": datatype, "parameters": parameters }), bytes)
}

fn single(number: f32) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// The elements of the only output, as a client reads them that knows only doubles.
fn doubles(reply: &Reply) -> Vec<f64> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = reply.json();
    let data = reply["outputs"][0]["data"].as_array().expect("a list");
    data.iter().map(|number| number.as_f64().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_what_json_does_not_have_is_refused_and_counted_as_an_error() {
    let server = echo().await;
    let infinity = "has an infinity, which JSON does not have; request it with `binary_data`: true";
    let cases = [
        ("FP32", vec![single(1.0), single(f32::INFINITY)], infinity),
        ("FP32", vec![single(f32::NEG_INFINITY), single(f32::NAN)], infinity),
        ("FP64", vec![f64::NEG_INFINITY.to_le_bytes().to_vec()], infinity),
        ("FP16", vec![vec![0x00, 0x3c]], "is FP16, which has no JSON form; request it with `binary_data`: true"),
    ];
    for (datatype, elements, words) in &cases {
        let (input, bytes) = binary_input(datatype, elements);
        let reply = post(&server, "p.infer", &json!({ "inputs": [input] }), &[&bytes]).await;
        let (status, code, text) = error(&reply);
        assert_eq!((status, code.as_str()), (400, "invalid_input"), "{text}");
        assert!(text.contains("output `x`") && text.contains(words), "{text}");
        // The others are right as they are.
        let outputs = json!([{ "name": "x", "parameters": { "binary_data": true } }]);
        let reply = post(&server, "p.infer", &json!({ "inputs": [input], "outputs": outputs }), &[&bytes]).await;
        assert_eq!(parts(&reply).1, bytes, "{datatype}");
    }
    let metrics = server.get("/metrics").await.text;
    for (outcome, count) in [("invalid_input", cases.len()), ("ok", cases.len())] {
        let line = format!("plimsoll_requests_total{{pipeline=\"p\",chip=\"echo\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    let stats = server.get("/v2/models/p.infer/stats").await.json();
    let stats = &stats["model_stats"][0]["inference_stats"];
    assert_eq!((&stats["success"]["count"], &stats["fail"]["count"]), (&json!(4), &json!(4)), "{stats}");

    let (input, bytes) = binary_input("FP32", &[single(f32::NAN)]);
    let reply = post(&server, "p.infer", &json!({ "inputs": [input] }), &[&bytes]).await;
    assert_eq!(reply.json()["outputs"][0]["data"], json!([null]), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_single_precision_is_exact_in_json_for_every_reader() {
    let server = echo().await;
    let number = f32::from_bits(ODD);
    let (input, bytes) = binary_input("FP32", &[single(number), single(0.1)]);
    let reply = post(&server, "p.infer", &json!({ "inputs": [input] }), &[&bytes]).await;
    let found: Vec<_> = doubles(&reply).into_iter().map(|double| double as f32).collect();
    assert_eq!(found, [number, 0.1]);
    assert!(reply.text.contains("0.1]"), "short where that is exact: {}", reply.text);

    // Read with one rounding, in one list and in nested lists.
    let just_above_half = "1.00000005960464477539062500000000000001";
    for data in [
        format!("[7.038531e-26, {just_above_half}, 1e-45, 3]"),
        format!("[[7.038531e-26,\n{just_above_half}],[ 1E-45 ,3]]"),
    ] {
        let body = format!(
            "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[2,2],\"datatype\":\"FP32\",\"data\":{data}}}],\
             \"parameters\":{{\"binary_data_output\":true}}}}"
        );
        let reply = server.send("POST", "/v2/models/p.infer/infer", &[], body.into_bytes()).await;
        let bytes = parts(&reply).1;
        let found: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|it| u32::from_le_bytes(*it)).collect();
        assert_eq!(found, [ODD, 1.0_f32.to_bits() + 1, 1, 3.0_f32.to_bits()], "{data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oip_a_number_that_is_no_integer_is_refused_as_one() {
    let server = echo().await;
    for (datatype, text, shown) in [
        ("INT32", "1.0", "1.0 is not a valid INT32 value"),
        ("INT8", "1e2", "100.0 is not a valid INT8 value"),
        ("INT64", "-0", "-0.0 is not a valid INT64 value"),
        ("UINT64", "18446744073709551616", "or more than 64 bits"),
    ] {
        let body =
            format!("{{\"inputs\":[{{\"name\":\"x\",\"shape\":[1],\"datatype\":\"{datatype}\",\"data\":[{text}]}}]}}");
        let reply = server.send("POST", "/v2/models/p.infer/infer", &[], body.into_bytes()).await;
        let (status, _, sentence) = error(&reply);
        assert!(status == 400 && sentence.contains(shown), "{sentence}");
        assert!(sentence.contains("it has a fraction or an exponent"), "{sentence}");
    }
}
