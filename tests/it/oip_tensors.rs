//! The Open Inference Protocol over REST: tensors in JSON, in every datatype.

use serde_json::{Value, json};

use crate::oip_rest::{demo, echo, error};

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
        // As many elements as the shape has, but in other lists.
        (with("data", json!(vec![vec![0.5; count / 4]; 4])), "invalid_input", "nested lists of `data`"),
        (with("data", json!([vec![0.5; count], Vec::<f64>::new()])), "invalid_input", "nested lists of `data`"),
        (with("data", json!([[vec![vec![0.5; 8]; count / 8]], []])), "invalid_input", "nested lists of `data`"),
        (with("data", json!([[[vec![0.5; 7], vec![0.5; count - 7]]]])), "invalid_input", "nested lists of `data`"),
        (with("data", json!([[0.5], 0.5])), "invalid_input", "nested lists of `data`"),
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
    for (datatype, data, returned) in [
        ("BOOL", json!([true, false, 1]), json!([true, false, true])),
        ("UINT8", json!([0, 255, 7]), json!([0, 255, 7])),
        ("UINT16", json!([0, 65535, 7]), json!([0, 65535, 7])),
        ("UINT32", json!([0, u32::MAX, 7]), json!([0, u32::MAX, 7])),
        ("UINT64", json!([0, u64::MAX, 9_007_199_254_740_993_u64]), json!([0, u64::MAX, 9_007_199_254_740_993_u64])),
        ("INT8", json!([-128, 127, 7]), json!([-128, 127, 7])),
        ("INT16", json!([-32768, 32767, 7]), json!([-32768, 32767, 7])),
        ("INT32", json!([i32::MIN, i32::MAX, 7]), json!([i32::MIN, i32::MAX, 7])),
        ("INT64", json!([i64::MIN, i64::MAX, 7]), json!([i64::MIN, i64::MAX, 7])),
        ("FP32", json!([-0.5, 1, 1e10]), json!([-0.5, 1.0, 1e10])),
        ("FP64", json!([-0.1, 1, 1e300]), json!([-0.1, 1.0, 1e300])),
    ] {
        let input = json!({ "name": "x", "shape": [3, 1], "datatype": datatype, "data": data });
        let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
        assert_eq!(reply.status, 200, "{datatype}: {}", reply.text);
        let output = reply.json()["outputs"][0].clone();
        assert_eq!((&output["datatype"], &output["data"]), (&json!(datatype), &returned), "{datatype}");
        assert_eq!(output["shape"], json!([3, 1]));
    }
    for (datatype, data, word) in [
        ("BOOL", json!([2]), "2 is not a valid BOOL value"),
        ("UINT8", json!([256]), "256 is not a valid UINT8 value"),
        ("UINT8", json!([-1]), "-1 is not a valid UINT8 value"),
        ("INT8", json!([1.5]), "1.5 is not a valid INT8 value"),
        ("UINT64", json!([-1]), "-1 is not a valid UINT64 value"),
        ("UINT64", json!([1.8446744073709552e19]), "is not a valid UINT64 value"),
        ("FP32", json!([1e300]), "is not a valid FP32 value"),
        ("FP16", json!([1.0]), "FP16 has no JSON form"),
        ("BF16", json!([1.0]), "BF16 has no JSON form"),
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
