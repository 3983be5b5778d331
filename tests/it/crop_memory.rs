//! `crop-transform` reads only the part of the picture that it cuts out.

use plimsoll_tests::Server;
use serde_json::json;

use crate::steps_pipelines::{GATHER, IN, plugins};

/// The picture has 36 MB, and the step may hold 16 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_needs_memory_for_the_part_and_not_for_the_picture() {
    let (width, height) = (4000_usize, 3000_usize);
    let crop = |cap: &str| {
        format!(
            "{{ name = \"crop\", kind = \"transform\", plugin = \"crop-transform\", items = true, max_memory = \"{cap}\", config = \
             {{ dtype = \"u8\", layout = \"nhwc\", detector = \"end-to-end\", width = 2, height = 2 }} }}"
        )
    };
    let text = format!(
        "[server]\nmax_body = \"64MiB\"\n{}[pipelines.p]\nsteps = [\n{IN},\n{},\n{GATHER}\n]\n",
        plugins(),
        crop("16MiB")
    );
    let server = Server::start(&text).await;
    let context = json!({ "width": width, "height": height, "input_width": width, "input_height": height,
                          "scale_x": 1.0, "scale_y": 1.0, "offset_x": 0.0, "offset_y": 0.0 });
    let tensors = json!([{ "name": "rows", "type": "fp32", "shape": [1, 1, 6] },
                         { "name": "picture", "type": "u8", "shape": [1, height, width, 3] }]);
    let head = json!({ "tensors": tensors, "context": context }).to_string();
    let mut body = u32::try_from(head.len()).expect("short").to_le_bytes().to_vec();
    body.extend(head.as_bytes());
    // A box of 200 x 200 pixels, whose quarters have colours of their own.
    body.extend([3600_f32, 2700.0, 3800.0, 2900.0, 0.9, 0.0].iter().flat_map(|value| value.to_le_bytes()));
    let colour = |x: usize, y: usize| [(x / 100) as u8, (y / 100) as u8, 7];
    body.extend((0..height).flat_map(|y| (0..width).flat_map(move |x| colour(x, y))));
    let reply = server.infer("p", "", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let image = reply.json()["items"][0]["tensors"]["image"]["data"].clone();
    let near = |at: usize, wanted: [u8; 3]| {
        (0..3).all(|part| image[3 * at + part].as_i64().is_some_and(|it| (it - i64::from(wanted[part])).abs() <= 1))
    };
    assert!(near(0, [36, 27, 7]) && near(3, [37, 28, 7]), "{image}");
    assert!(reply.high_water("crop") < 16 << 20, "{}", reply.high_water("crop"));
}
