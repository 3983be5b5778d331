//! `detect-postprocess` selects among many boxes.

use crate::postprocess_cases::{body, server};

/// 10,000 boxes over the threshold: 5,000 places in a grid, each with a better and a worse box.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_boxes_are_selected() {
    const PLACES: usize = 5_000;
    let (mut rows, mut columns) = (Vec::with_capacity(PLACES * 12), vec![0.0; PLACES * 10]);
    for index in 0..2 * PLACES {
        // The worse box of a place comes first, and the best place last.
        let (place, is_better) = (index / 2, index % 2 == 1);
        let [x, y] = [(place % 100) as f32, (place / 100) as f32].map(|step| step * 0.5 + 0.25);
        let score = 0.5 + place as f32 / 20_000.0 + if is_better { 0.2 } else { 0.0 };
        rows.extend([x, y, 0.4, 0.4, score, 1.0]);
        for (channel, value) in [x, y, 0.4, 0.4, score].into_iter().enumerate() {
            columns[channel * 2 * PLACES + index] = value;
        }
    }
    let all = "max_detections = 10000";
    let configs = [
        "layout = \"yolov5\"".to_owned(),
        format!("layout = \"yolov5\", {all}"),
        format!("layout = \"yolov8\", nms = \"class-agnostic\", {all}"),
        "layout = \"yolov8\", nms = \"soft\"".to_owned(),
        format!("layout = \"yolov8\", nms = \"none\", {all}"),
    ];
    let server = server("detect-postprocess", &configs.map(|it| format!("config = {{ {it} }}"))).await;
    for (index, count) in [100, PLACES, PLACES, 100, 2 * PLACES].into_iter().enumerate() {
        let tensors = match index < 2 {
            true => body(&[("output0", &[1, 2 * PLACES, 6], &rows)]),
            false => body(&[("output0", &[1, 5, 2 * PLACES], &columns)]),
        };
        let reply = server.infer(&format!("p{index}"), "", tensors).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        println!("{index}: {:?}", reply.headers.get("server-timing"));
        let reply = reply.json();
        let found = reply["detections"].as_array().expect("a list");
        assert_eq!(found.len(), count);
        // The best place is the last one. Its left edge is at 0.25 - 0.2 + 99 * 0.5.
        let first = found[0]["box"][0].as_f64().expect("a number");
        assert!((first - 49.55).abs() < 1e-3, "{first}");
        let scores: Vec<_> = found.iter().map(|it| it["score"].as_f64().expect("a number")).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "best first");
    }
}
