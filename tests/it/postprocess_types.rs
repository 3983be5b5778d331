//! Every shipped postprocess plugin reads scores in half precision, bf16 and double precision as it reads the same numbers
//! in single precision.

use half::{bf16, f16};
use plimsoll_tests::TempDir;
use serde_json::json;

use crate::postprocess_cases::server;

/// The body for `given-tensors`: one output of a type.
fn body(ty: &str, shape: &[usize], values: &[f64]) -> Vec<u8> {
    let context = json!({ "width": 64, "height": 64, "input_width": 64, "input_height": 64, "scale_x": 1.0, "scale_y": 1.0,
                          "offset_x": 0.0, "offset_y": 0.0 });
    let text = json!({ "tensors": [{ "name": "o", "type": ty, "shape": shape }], "context": context }).to_string();
    let mut body = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    body.extend(text.as_bytes());
    for &value in values {
        match ty {
            "fp16" => body.extend(f16::from_f64(value).to_le_bytes()),
            "bf16" => body.extend(bf16::from_f64(value).to_le_bytes()),
            "fp32" => body.extend((value as f32).to_le_bytes()),
            "fp64" => body.extend(value.to_le_bytes()),
            other => panic!("{other}"),
        }
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_of_every_type_of_floats_give_the_same_reply() {
    let folder = TempDir::new().expect("a folder");
    let dictionary = folder.path().join("dictionary.txt");
    std::fs::write(&dictionary, "a\nb\n").expect("written");
    // All types have these numbers, so the replies are equal.
    let sixteenths = |numbers: &[i32]| numbers.iter().map(|&number| f64::from(number) / 16.0).collect::<Vec<_>>();
    let text = format!("config = {{ dictionary = \"d\", scores = \"ready\" }}\nassets = {{ d = {dictionary:?} }}");
    let end_to_end = [128, 128, 384, 384, 12, 16, 64, 64, 192, 192, 8, 0];
    let heatmaps: Vec<i32> = (0..32).map(|place| place * 7 % 16).collect();
    for (plugin, stage, shape, values) in [
        ("classify-postprocess", "", &[1, 4][..], sixteenths(&[8, 32, -16, 4])),
        ("detect-postprocess", "config = { layout = \"end-to-end\" }", &[1, 2, 6], sixteenths(&end_to_end)),
        ("segment-postprocess", "", &[1, 2, 2, 2], sixteenths(&[8, 1, 2, 3, 4, 5, 6, 7])),
        ("image-postprocess", "config = { range = [0, 4] }", &[2, 2], sixteenths(&[8, 1, 2, 3])),
        ("embed-postprocess", "", &[1, 4], sixteenths(&[8, 1, 2, 3])),
        ("pose-postprocess", "config = { layout = \"heatmaps\" }", &[1, 2, 4, 4], sixteenths(&heatmaps)),
        ("text-postprocess", &text, &[1, 3, 3], sixteenths(&[1, 14, 1, 1, 1, 14, 14, 1, 1])),
        ("tensors-postprocess", "", &[1, 4], sixteenths(&[8, 1, 2, 3])),
    ] {
        let server = server(plugin, &[stage.to_owned()]).await;
        let single = server.infer("p0", "", body("fp32", shape, &values)).await;
        assert_eq!(single.status, 200, "{plugin}: {}", single.text);
        for ty in ["fp16", "bf16", "fp64"] {
            let reply = server.infer("p0", "", body(ty, shape, &values)).await;
            assert_eq!(reply.status, 200, "{plugin} {ty}: {}", reply.text);
            match plugin {
                // It names the type.
                "tensors-postprocess" => {
                    assert_eq!(reply.json()["outputs"][0]["data"], single.json()["outputs"][0]["data"], "{ty}");
                }
                _ => assert_eq!(reply.bytes, single.bytes, "{plugin} {ty}"),
            }
            // What no single precision has is no score.
            let mut wrong = values.clone();
            wrong[1] = if ty == "fp64" { 1e300 } else { f64::NAN };
            if plugin != "tensors-postprocess" || ty != "fp64" {
                let reply = server.infer("p0", "", body(ty, shape, &wrong)).await;
                assert_eq!(reply.status, 500, "{plugin} {ty}: {}", reply.text);
            }
        }
        server.stop().await;
    }
}
