//! `crop-transform` and `route-transform` with chosen tensors: what becomes an item, with which pixels and which context.

use plimsoll_tests::{Server, TempDir};
use serde_json::{Value, json};

use crate::steps_pipelines::{GATHER, IN, plugins};

const WIDTH: usize = 12;
const HEIGHT: usize = 8;

/// A pixel of the picture of the tests; 0 outside.
fn pixel(x: i64, y: i64) -> [u8; 3] {
    let is_inside = (0..WIDTH as i64).contains(&x) && (0..HEIGHT as i64).contains(&y);
    if is_inside { [(20 * y + x) as u8, (100 + x) as u8, (200 + y) as u8] } else { [0; 3] }
}

/// The pixels of a part of the picture, row by row.
pub(crate) fn part([left, top, right, bottom]: [i64; 4]) -> Vec<u8> {
    (top..bottom).flat_map(|y| (left..right).flat_map(move |x| pixel(x, y))).collect()
}

/// The body for `given-tensors`: f32 tensors and the picture, for a detector whose input is the picture of the caller at
/// `scale`. The tensor of the picture has its own pixels.
pub(crate) fn given(tensors: &[(&str, &[usize], &[f32])], scale: f64) -> Vec<u8> {
    let mut described: Vec<Value> =
        tensors.iter().map(|(name, shape, _)| json!({ "name": name, "type": "fp32", "shape": shape })).collect();
    described.push(json!({ "name": "picture", "type": "u8", "shape": [1, HEIGHT, WIDTH, 3] }));
    let (width, height) = (WIDTH as f64 * scale, HEIGHT as f64 * scale);
    let context = json!({ "width": WIDTH, "height": HEIGHT, "input_width": width, "input_height": height,
                          "scale_x": scale, "scale_y": scale, "offset_x": 0.0, "offset_y": 0.0 });
    let text = json!({ "tensors": described, "context": context }).to_string();
    let mut body = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend(tensors.iter().flat_map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes())));
    body.extend(part([0, 0, WIDTH as i64, HEIGHT as i64]));
    body
}

/// A server with a pipeline for each configuration of `crop-transform`, named `p0` and so on. The crops are u8, pixel by pixel.
pub(crate) async fn server(configs: &[&str]) -> Server {
    let mut text = plugins();
    for (at, config) in configs.iter().enumerate() {
        text += &format!(
            "[pipelines.p{at}]\nsteps = [\n{IN},\n{{ name = \"crop\", kind = \"transform\", plugin = \"crop-transform\", items = \
             true, config = {{ dtype = \"u8\", layout = \"nhwc\", {config} }} }},\n{GATHER}\n]\n"
        );
    }
    Server::start(&text).await
}

/// The items of a reply: the pixels, and the context.
pub(crate) fn items(reply: &plimsoll_tests::Reply) -> Vec<(Vec<u8>, Value)> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = reply.json();
    let of = |item: &Value| {
        let data = item["tensors"]["image"]["data"].as_array().expect("bytes");
        let bytes = data.iter().map(|byte| byte.as_u64().expect("a byte") as u8).collect();
        (bytes, serde_json::from_str(item["context"].as_str().expect("text")).expect("JSON"))
    };
    reply["items"].as_array().expect("items").iter().map(of).collect()
}

/// Rows of `end-to-end`: corners, score and class.
pub(crate) fn rows(rows: &[[f32; 6]]) -> (Vec<usize>, Vec<f32>) {
    (vec![1, rows.len(), 6], rows.as_flattened().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_become_items_with_the_pixels_of_the_picture() {
    let configs = [
        "detector = \"end-to-end\", width = 4, height = 4",
        "detector = \"end-to-end\", width = 6, height = 6, margin = 0.25",
        "detector = \"end-to-end\", width = 4, height = 4, square = true",
        "detector = \"end-to-end\", width = 4, height = 4, keep = [2], max_detections = 1",
        "detector = \"end-to-end\", width = 8, height = 4, resize = \"letterbox\", pad = 7",
    ];
    let server = server(&configs).await;
    let post = async |at: usize, boxes: &[[f32; 6]], scale: f64| {
        let (shape, values) = rows(boxes);
        server.infer(&format!("p{at}"), "", given(&[("rows", &shape, &values)], scale)).await
    };
    // Best first; the input of the detector has twice the size.
    let reply = post(0, &[[4.0, 4.0, 12.0, 12.0, 0.5, 0.0], [10.0, 0.0, 18.0, 8.0, 0.75, 3.0]], 2.0).await;
    let found = items(&reply);
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0].0, &found[1].0), (&part([5, 0, 9, 4]), &part([2, 2, 6, 6])));
    let context = json!({ "width": 12, "height": 8, "resize": "stretch", "input_width": 4, "input_height": 4,
        "scale_x": 1.0, "scale_y": 1.0, "offset_x": -5.0, "offset_y": 0.0,
        "item": { "box": [5.0, 0.0, 9.0, 4.0], "score": 0.75, "index": 3, "label": "3" } });
    assert_eq!(found[0].1, context);
    // Sides are rounded, a half up; a box of no whole pixel has one.
    let found = items(&post(0, &[[1.5, 0.4, 5.5, 4.4, 0.5, 0.0], [11.6, 7.6, 11.9, 7.9, 0.4, 0.0]], 1.0).await);
    assert_eq!(found[0].0, part([2, 0, 6, 4]));
    assert_eq!(found[1].0, pixel(11, 7).repeat(16));
    // A margin of a quarter on each side; what is outside of the picture is padded.
    let found = items(&post(1, &[[0.0, 2.0, 4.0, 6.0, 0.5, 0.0]], 1.0).await);
    assert_eq!(found[0].0, part([-1, 1, 5, 7]));
    assert_eq!((&found[0].1["offset_x"], &found[0].1["item"]["box"]), (&json!(1.0), &json!([0.0, 2.0, 4.0, 6.0])));
    let found = items(&post(2, &[[4.0, 3.0, 8.0, 5.0, 0.5, 0.0]], 1.0).await);
    assert_eq!(found[0].0, part([4, 2, 8, 6]));
    let boxes = [[0.0, 0.0, 4.0, 4.0, 0.9, 1.0], [2.0, 2.0, 6.0, 6.0, 0.8, 2.0], [4.0, 4.0, 8.0, 8.0, 0.7, 2.0]];
    let found = items(&post(3, &boxes, 1.0).await);
    assert_eq!((found.len(), &found[0].0), (1, &part([2, 2, 6, 6])));
    let found = items(&post(4, &[[4.0, 2.0, 8.0, 6.0, 0.5, 0.0]], 1.0).await);
    let row = |y: i64| [vec![7; 6], part([4, y, 8, y + 1]), vec![7; 6]].concat();
    assert_eq!(found[0].0, (2..6).flat_map(row).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_that_cannot_be_cut_out_make_no_item_and_wrong_ones_are_errors() {
    let server = server(&["detector = \"end-to-end\", width = 4, height = 4"]).await;
    let post = async |boxes: &[[f32; 6]]| {
        let (shape, values) = rows(boxes);
        server.infer("p0", "", given(&[("rows", &shape, &values)], 1.0)).await
    };
    assert_eq!(items(&post(&[]).await), []);
    for outside in [[-9.0, 0.0, -1.0, 4.0], [12.0, 0.0, 16.0, 4.0], [3.0, 3.0, 3.0, 3.0], [3.0, 9.0, 5.0, 11.0]] {
        let [x1, y1, x2, y2] = outside;
        let found = items(&post(&[[x1, y1, x2, y2, 0.9, 0.0], [0.0, 0.0, 4.0, 4.0, 0.5, 0.0]]).await);
        assert_eq!((found.len(), &found[0].0), (1, &part([0, 0, 4, 4])), "{outside:?}");
    }
    for wrong in [
        [f32::NAN, 0.0, 4.0, 4.0, 0.9, 0.0],
        // Also in a box that would not be reported.
        [0.0, 0.0, f32::INFINITY, 4.0, 0.0, 0.0],
        [9.0, 0.0, 4.0, 4.0, 0.9, 0.0],
        [0.0, 0.0, 4000.0, 4.0, 0.9, 0.0],
        [0.0, 0.0, 4.0, 4.0, 7.0, 0.0],
    ] {
        let problem = post(&[wrong]).await.json();
        assert_eq!((&problem["code"], &problem["stage"]), (&json!("internal"), &json!("crop")), "{wrong:?}: {problem}");
    }
    let none = server.infer("p0", "", crate::steps_pipelines::body(&[("rows", &[1, 1, 6], &[0.0; 6])])).await;
    assert_eq!(none.status, 500, "{}", none.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn points_become_upright_crops() {
    let points = "detector = \"points\", width = 4, height = 2";
    let configs = [
        points.to_owned(),
        format!("{points}, warp = \"similarity\", template = [0, 0, 1, 0]"),
        format!("{points}, scores = \"\", margin = 0.5"),
    ];
    let server = server(&configs.each_ref().map(String::as_str)).await;
    let post = async |at: usize, score: f32, points: &[f32]| {
        let tensors: [(&str, &[usize], &[f32]); 2] =
            [("scores", &[1, 1], &[score]), ("points", &[1, 1, points.len()], points)];
        server.infer(&format!("p{at}"), "", given(&tensors, 1.0)).await
    };
    let upright = [3.0, 2.0, 7.0, 2.0, 7.0, 4.0, 3.0, 4.0];
    let found = items(&post(0, 0.9, &upright).await);
    assert_eq!(found[0].0, part([3, 2, 7, 4]));
    let item = json!({ "box": [3.0, 2.0, 7.0, 4.0], "score": 0.9, "points": [[3.0, 2.0], [7.0, 2.0], [7.0, 4.0], [3.0, 4.0]] });
    assert_eq!(found[0].1, json!({ "width": 12, "height": 8, "item": item }));
    // A quarter turn: the first corner is the right upper one.
    let turned = items(&post(0, 0.9, &[7.0, 2.0, 7.0, 6.0, 5.0, 6.0, 5.0, 2.0]).await);
    let expected: Vec<u8> = (0..2).flat_map(|y| (0..4).flat_map(move |x| pixel(6 - y, 2 + x))).collect();
    assert_eq!(turned[0].0, expected);
    // Twice as large as the crop: each pixel is the mean of those around it.
    let large = items(&post(0, 0.9, &[2.0, 2.0, 10.0, 2.0, 10.0, 6.0, 2.0, 6.0]).await);
    let direct = |x: i64, y: i64| -> f64 { f64::from(pixel(x, y)[0]) };
    // The triangle filter of a reduction by two: weights 1, 3, 3, 1 of 8.
    let weights = [(-1, 0.125), (0, 0.375), (1, 0.375), (2, 0.125)];
    let mean: f64 = weights
        .iter()
        .flat_map(|(dy, v)| weights.iter().map(move |(dx, h)| v * h * direct(6 + dx, 2 + dy.max(&0))))
        .sum();
    assert!((f64::from(large[0].0[3 * 2]) - mean).abs() < 3.0, "{} is not {mean}", large[0].0[6]);
    // Two points give rotation, scale and place.
    let found = items(&post(1, 0.9, &[3.0, 2.0, 7.0, 2.0]).await);
    assert_eq!(found[0].0, part([3, 2, 7, 4]));
    let found = items(&post(1, 0.9, &[7.0, 2.0, 7.0, 6.0]).await);
    assert_eq!(found[0].0, expected);
    // The points at a quarter and three quarters of the crop.
    let found = items(&post(2, 0.0, &[5.0, 3.0, 7.0, 3.0, 7.0, 4.0, 5.0, 4.0]).await);
    assert_eq!(found[0].0.len(), 24);
    assert!(found[0].1["item"].get("score").is_none(), "{}", found[0].1);
    for nothing in [[3.0; 8], [0.0, 0.0, 4.0, 4.0, 8.0, 8.0, 2.0, 2.0], [-8.0, 0.0, -4.0, 0.0, -4.0, 2.0, -8.0, 2.0]] {
        assert_eq!(items(&post(0, 0.9, &nothing).await), [], "{nothing:?}");
    }
    assert_eq!(items(&post(0, 0.4, &upright).await), []);
    // The upper side is a tenth of the lower one, so the margin of a half reaches over the horizon.
    assert_eq!(items(&post(2, 0.9, &[5.0, 2.0, 5.4, 2.0, 7.2, 4.0, 3.2, 4.0]).await), []);
    let wrong = post(0, 0.9, &[f32::NAN; 8]).await;
    assert_eq!(wrong.status, 500, "{}", wrong.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_cannot_work_are_refused() {
    for (config, words) in [
        ("width = 4", "`height` is missing"),
        ("width = 4, height = 4, margin = 2", "`margin`: 2 is not between 0 and 1"),
        ("width = 4, height = 4, layout = \"yolov8\"", "`layout`"),
        ("width = 4, height = 4, detector = \"yolov9\"", "`detector`: \"yolov9\" is not one of decoded, yolov5"),
        ("width = 4, height = 4, strides = [8]", "`strides` cannot be used with `detector = \"decoded\"`"),
        ("width = 4, height = 4, keep = [\"cat\"]", "`keep`: \"cat\" is not the index of a class"),
        ("width = 4, height = 4, template = [0, 0]", "`template` can only be used with `detector = \"points\"`"),
        ("width = 4, height = 4, detector = \"points\", template = [0, 0]", "`template`: 2 numbers; 8 numbers"),
        (
            "width = 4, height = 4, detector = \"points\", square = true",
            "`square` can only be used with detectors that",
        ),
    ] {
        let crop = format!(
            r#"{{ name = "crop", kind = "transform", plugin = "crop-transform", items = true, config = {{ {config} }} }}"#
        );
        let message = Server::rejection(&crate::steps_pipelines::config("", &[IN, &crop, GATHER])).await;
        assert!(message.contains(words), "{config}: {words:?} is missing in {message}");
    }
}

/// A class decides whether a branch runs, and which items do.
#[tokio::test(flavor = "multi_thread")]
async fn a_class_decides_which_branch_runs() {
    let folder = TempDir::new().expect("a folder");
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "cat\ndog\nbird\n").expect("written");
    let route = |name: &str, more: &str, config: &str| {
        format!(
            "{{ name = \"{name}\", kind = \"transform\", plugin = \"route-transform\", items = true, {more} config = {{ output = \
             \"scores\", scores = \"ready\", labels = \"labels.txt\", {config} }}, assets = {{ \"labels.txt\" = {labels:?} }} }}"
        )
    };
    let noop = |name: &str| format!(r#"{{ name = "{name}", kind = "infer", plugin = "noop-infer" }}"#);
    let from = "from = [\"in.scores\", \"in.x\"],";
    let sums = |name: &str| {
        format!(
            r#"{{ name = "{name}", kind = "transform", plugin = "transformer", gather = true, config = {{ gather = true, rename = "sums" }} }}"#
        )
    };
    let split = r#"{ name = "split", kind = "transform", plugin = "transformer", from = ["in.scores"], items = true, config = { split = true } }"#;
    let text = format!(
        "{}[pipelines.one]\nsteps = [{IN}, {}, {}, {GATHER}]\n[pipelines.other]\nsteps = [{IN}, {}, {}, {GATHER}]\n\
         [pipelines.each]\nsteps = [{IN}, {split}, {}, {}, {GATHER}]\n[pipelines.two]\nsteps = [{IN}, {}, {}, {}, {GATHER}]\n",
        plugins(),
        route("route", from, "keep = [\"cat\", \"bird\"], score_threshold = 0.5"),
        noop("branch"),
        route("route", from, "keep = [\"cat\", \"bird\"], score_threshold = 0.5, invert = true"),
        noop("branch"),
        noop("classify"),
        route("route", "gather = true,", "keep = [\"dog\"], items = true"),
        route("route", from, "keep = [\"cat\"]"),
        sums("sums"),
        route("again", "from = [\"in.scores\", \"sums\"],", "keep = [\"cat\"]"),
    );
    let server = Server::start(&text).await;
    let body = |scores: &[f32]| {
        let shape = [scores.len() / 3, 3];
        let described = json!({ "tensors": [{ "name": "scores", "type": "fp32", "shape": shape },
            { "name": "x", "type": "fp32", "shape": [1] }], "context": { "width": 5, "height": 6 } });
        let text = described.to_string();
        let mut body = (text.len() as u32).to_le_bytes().to_vec();
        body.extend(text.as_bytes());
        body.extend(scores.iter().chain(&[4.5]).flat_map(|value| value.to_le_bytes()));
        body
    };
    for (scores, label) in [
        ([0.7, 0.2, 0.1], Some("cat")),
        ([0.1, 0.1, 0.8], Some("bird")),
        ([0.4, 0.3, 0.3], None),
        ([0.0, 1.0, 0.0], None),
    ] {
        for (pipeline, label) in [("one", label), ("other", if label.is_none() { Some("") } else { None })] {
            let reply = server.infer(pipeline, "", body(&scores)).await.json();
            let items = reply["items"].as_array().expect("items");
            assert_eq!(items.len(), usize::from(label.is_some()), "{pipeline} {scores:?}: {reply}");
            let Some(label) = label.filter(|label| !label.is_empty()) else { continue };
            assert_eq!(items[0]["tensors"], json!({ "x": { "shape": [1], "data": [4.5] } }), "{reply}");
            let context: Value = serde_json::from_str(items[0]["context"].as_str().expect("text")).expect("JSON");
            assert_eq!(
                (&context["width"], &context["item"]["class"]["label"]),
                (&json!(5), &json!(label)),
                "{context}"
            );
        }
    }
    // The second and the third row are dogs. A context that is no JSON stays as it is.
    let reply =
        server.infer("each", "", body(&[0.9, 0.1, 0.0, 0.1, 0.9, 0.0, 0.2, 0.8, 0.0, 0.5, 0.2, 0.3])).await.json();
    let contexts: Vec<_> =
        reply["items"].as_array().expect("items").iter().map(|item| item["context"].clone()).collect();
    let context = |row: usize| json!(format!("item {row} of {}", json!({ "width": 5, "height": 6 })));
    assert_eq!(contexts, [context(1), context(2)], "{reply}");
    assert_eq!(
        reply["context"],
        json!(json!({ "width": 5, "height": 6 }).to_string()),
        "the one from before the items"
    );
    // No number, and logits where probabilities are configured.
    for scores in [[f32::NAN, 0.0, 0.0], [7.3, 2.1, 0.0]] {
        let wrong = server.infer("one", "", body(&scores)).await;
        assert_eq!((wrong.status, wrong.json()["stage"].clone()), (500, json!("route")), "{}", wrong.text);
    }
    // Items are made, gathered and made again.
    let twice = server.infer("two", "", body(&[1.0, 0.0, 0.0])).await.json();
    assert_eq!(twice["items"][0]["tensors"]["sums"]["data"], json!([4.5]), "{twice}");
    let twice = server.infer("two", "", body(&[1.0, 0.0, 0.0])).await.json();
    assert_eq!(twice["items"].as_array().map(Vec::len), Some(1), "{twice}");
}
