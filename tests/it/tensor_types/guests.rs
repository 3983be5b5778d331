//! Guests make the input and read the output, both in the types of `wasi:nn`.

use plimsoll_tests::Server;
use serde_json::json;

use super::datatypes::{Row, numbers, rows_on, twice};

/// The type with which guests see a datatype.
fn seen(datatype: &str) -> &str {
    match datatype {
        "BOOL" => "UINT8",
        "INT8" | "INT16" | "UINT16" => "INT32",
        "UINT32" | "UINT64" => "INT64",
        other => other,
    }
}

/// The name that the guest `given-tensors` has for a datatype.
fn guest_name(datatype: &str) -> &str {
    match datatype {
        "FP16" => "fp16",
        "BF16" => "bf16",
        "FP32" => "fp32",
        "FP64" => "fp64",
        "UINT8" => "u8",
        "INT32" => "i32",
        "INT64" => "i64",
        other => panic!("wasi:nn has no {other}"),
    }
}

/// The body for `given-tensors`.
pub(super) fn body(datatype: &str, shape: [usize; 2], bytes: &[u8]) -> Vec<u8> {
    let tensor = json!({ "name": "x", "type": guest_name(datatype), "shape": shape });
    let text = json!({ "tensors": [tensor], "context": {} }).to_string();
    [&u32::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes(), bytes].concat()
}

/// A row as guests see it.
fn seen_bytes(row: &Row, datatype: &str) -> Vec<u8> {
    let integers = || row.json.as_ref().expect("a JSON form").iter();
    match (datatype, seen(datatype)) {
        ("BOOL", _) => row.bytes.clone(),
        (own, other) if own == other => row.bytes.clone(),
        (_, "INT32") => integers().flat_map(|it| (it.as_i64().expect("an integer") as i32).to_le_bytes()).collect(),
        _ => integers().flat_map(|it| it.as_i64().expect("it fits").to_le_bytes()).collect(),
    }
}

/// A guest makes the input and another one reads the output, both in the types of `wasi:nn`.
pub(super) async fn check_guests(server: &Server, name: &str, backend: &str, wanted: &str) {
    let rows = rows_on(backend, name);
    // The second row of UINT64 has a number that no type of `wasi:nn` has.
    let row = if name == "UINT64" { numbers!(u64, 1, i64::MAX as u64, 2) } else { rows[1].clone() };
    let sent = body(seen(name), [1, 3], &seen_bytes(&row, name));
    let reply = server.infer(name, "", sent).await;
    assert_eq!(reply.status, 200, "{name}: {}", reply.text);
    let outputs = reply.json()["outputs"].clone();
    assert_eq!(outputs[0]["datatype"], seen(wanted), "{name}: {}", reply.text);
    let found = outputs[0]["data"].as_array().expect("a list");
    for (place, float) in found.iter().zip(twice(&row.floats)) {
        let found = place.as_f64().expect("a number") as f32;
        assert!(found == float || (found - float).abs() <= 1e-6 * float.abs(), "{name}: {found} instead of {float}");
    }
}
