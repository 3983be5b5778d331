//! Measures one run of each shipped postprocess plugin on the outputs of usual models, in process:
//! `cargo bench --bench postprocess`. A run includes a fresh instance and passing the tensors to it.
//!
//! The outputs are generated from a fixed seed. `large` is a case that no usual model has: 10,000 boxes over the threshold.

use std::time::{Duration, Instant};

use plimsoll_runtime::stage::{PostprocessStage, Request, RunLog};
use plimsoll_runtime::tensor::{Tensor, TensorType, Tensors};
use plimsoll_tests::bench::{self, Table, quantile};
use plimsoll_tests::{TempDir, guest};
use serde_json::json;

const BLOCKS: usize = 15;
/// The time that a block takes, about.
const BLOCK: Duration = Duration::from_millis(200);
/// The entries of the dictionary of PaddleOCR's Chinese and English recogniser, without the blank.
const CHARACTERS: usize = 6_624;
/// 10,000 boxes over the threshold.
const PLACES: usize = 5_000;

/// Numbers from 0 to 1.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }

    fn numbers(&mut self, count: usize, from: f32, to: f32) -> Vec<f32> {
        (0..count).map(|_| from + (to - from) * self.next()).collect()
    }
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> (String, Tensor) {
    let shape = shape.iter().map(|size| u32::try_from(*size).expect("a size")).collect();
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name.to_owned(), Tensor::new(shape, TensorType::Fp32, bytes))
}

/// `[1, numbers, boxes]` as YOLOv8 returns it for an input of 640 x 640: boxes anywhere, of which each 400th is sure. `more` is
/// what follows the probabilities of the classes.
fn yolo(random: &mut Random, classes: usize, more: usize) -> (String, Tensor) {
    const BOXES: usize = 8_400;
    let mut rows = Vec::new();
    for (from, to) in [(0.0, 640.0), (0.0, 640.0), (8.0, 200.0), (8.0, 200.0)] {
        rows.extend(random.numbers(BOXES, from, to));
    }
    for class in 0..classes {
        rows.extend((0..BOXES).map(|at| if at % 400 == class { 0.9 } else { random.next() * 0.05 }));
    }
    for row in 0..more {
        // Every third number may be the score of a keypoint, and a place is not in the left upper corner.
        let to = if row % 3 == 2 { 1.0 } else { 640.0 };
        rows.extend(random.numbers(BOXES, 0.0, to));
    }
    tensor("output0", &[1, 4 + classes + more, BOXES], &rows)
}

/// 10,000 boxes, two at each place of a grid, all over the threshold.
fn many_boxes(random: &mut Random) -> (String, Tensor) {
    let mut rows = vec![0.0; 5 * 2 * PLACES];
    for at in 0..2 * PLACES {
        let (place, x) = (at / 2, at / 2 % 100);
        let numbers = [x as f32 * 6.0 + 4.0, (place / 100) as f32 * 12.0 + 4.0, 5.0, 10.0, 0.3 + 0.7 * random.next()];
        for (row, number) in numbers.into_iter().enumerate() {
            rows[row * 2 * PLACES + at] = number;
        }
    }
    tensor("output0", &[1, 5, 2 * PLACES], &rows)
}

/// A plugin, its stage in the configuration, and what it gets.
struct Case {
    what: &'static str,
    plugin: &'static str,
    stage: String,
    outputs: Tensors,
}

fn cases(dictionary: &str) -> Vec<Case> {
    let mut random = Random(7);
    let case = |what, plugin, config: &str, outputs| {
        let stage = format!("config = {{ {config} }}");
        Case { what, plugin, stage, outputs }
    };
    let steps = tensor("text", &[1, 40, CHARACTERS + 1], &random.numbers(40 * (CHARACTERS + 1), -8.0, 8.0));
    let mut text = case("40 steps x 6,625 classes", "text-postprocess", "dictionary = \"d\"", vec![steps]);
    text.stage += &format!("\nassets = {{ d = {dictionary:?} }}");
    let prototypes = tensor("output1", &[1, 32, 160, 160], &random.numbers(32 * 160 * 160, -1.0, 1.0));
    let map = tensor("out", &[1, 21, 520, 520], &random.numbers(21 * 520 * 520, -4.0, 4.0));
    let image = tensor("image", &[1, 3, 512, 512], &random.numbers(3 * 512 * 512, 0.0, 1.0));
    let large = |config: &str| format!("layout = \"yolov8\", {config}");
    let (detect, large_boxes) = ("detect-postprocess", many_boxes(&mut random));
    vec![
        case(
            "1,000 classes",
            "classify-postprocess",
            "",
            vec![tensor("s", &[1, 1_000], &random.numbers(1_000, -8.0, 8.0))],
        ),
        case("YOLOv8, 8,400 boxes x 80 classes", detect, "layout = \"yolov8\"", vec![yolo(&mut random, 80, 0)]),
        case("large, per class, 10,000 boxes", detect, &large("max_detections = 10000"), vec![large_boxes.clone()]),
        case("large, soft", detect, &large("nms = \"soft\""), vec![large_boxes.clone()]),
        case("large, none", detect, &large("nms = \"none\", max_detections = 10000"), vec![large_boxes]),
        case("YOLOv8-pose, 8,400 boxes x 17 points", "pose-postprocess", "", vec![yolo(&mut random, 1, 51)]),
        case(
            "YOLOv8-seg, 20 masks, 32 x 160 x 160",
            "segment-postprocess",
            "layout = \"yolo\", format = \"rle\"",
            vec![yolo(&mut random, 80, 32), prototypes],
        ),
        case("21 classes x 520 x 520 to PNG", "segment-postprocess", "", vec![map]),
        text,
        case(
            "1,280 numbers",
            "embed-postprocess",
            "",
            vec![tensor("v", &[1, 1_280], &random.numbers(1_280, -1.0, 1.0))],
        ),
        case("3 x 512 x 512 to PNG", "image-postprocess", "", vec![image]),
        case(
            "1,000 numbers to JSON",
            "tensors-postprocess",
            "",
            vec![tensor("s", &[1, 1_000], &random.numbers(1_000, 0.0, 1.0))],
        ),
    ]
}

/// Milliseconds of one run, and the bytes of the reply.
async fn run(stage: &PostprocessStage, outputs: &Tensors, context: &[u8]) -> (f64, usize) {
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let mut log = RunLog::new(Duration::from_secs(60));
    let outputs = outputs.clone();
    let started = Instant::now();
    let reply = stage.run(&mut log, &request, outputs, context).await.expect("a reply");
    (started.elapsed().as_secs_f64() * 1e3, reply.body.len())
}

fn main() {
    let blocks = bench::count(BLOCKS);
    let folder = TempDir::new().expect("a folder");
    let dictionary = folder.path().join("dictionary.txt");
    let entries = (0..CHARACTERS).map(|at| format!("c{at}\n")).collect::<String>();
    std::fs::write(&dictionary, entries).expect("written");
    let cases = cases(dictionary.to_str().expect("text"));
    let mut toml = String::new();
    for name in ["given-tensors", "noop-infer"] {
        toml += &format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    }
    for (index, Case { plugin, stage, .. }) in cases.iter().enumerate() {
        toml += &format!(
            "[pipelines.p{index}.preprocess]\nplugin = \"given-tensors\"\n[pipelines.p{index}.chips.c]\nplugin = \
             \"noop-infer\"\n[pipelines.p{index}.postprocess]\nplugin = \"{plugin}\"\n{stage}\n"
        );
    }
    let context = json!({ "width": 640, "height": 640, "resize": "stretch", "input_width": 640, "input_height": 640,
                          "scale_x": 1.0, "scale_y": 1.0, "offset_x": 0.0, "offset_y": 0.0 });
    let context = context.to_string().into_bytes();
    let labels = [("plugin", 22), ("outputs", 38)];
    let mut table = Table::new("postprocess", &labels, &[("median ms", 3), ("fastest ms", 3), ("reply KB", 1)]);
    bench::runtime().block_on(async {
        let app = bench::app(&toml).await;
        for (index, Case { what, plugin, outputs, .. }) in cases.iter().enumerate() {
            let pipeline = app.pipeline(&format!("p{index}")).expect("configured");
            let (first, bytes) = run(&pipeline.postprocess, outputs, &context).await;
            let runs = if bench::measures() { (BLOCK.as_secs_f64() * 1e3 / first).clamp(1.0, 500.0) as u32 } else { 1 };
            let mut times = Vec::with_capacity(blocks);
            for _ in 0..blocks {
                let mut sum = 0.0;
                for _ in 0..runs {
                    sum += run(&pipeline.postprocess, outputs, &context).await.0;
                }
                times.push(sum / f64::from(runs));
            }
            times.sort_by(f64::total_cmp);
            table.row(&[plugin, what], &[quantile(&times, 0.5), quantile(&times, 0.0), bytes as f64 / 1e3]);
        }
    });
    table.end(&format!("one run with a fresh instance; medians of {blocks} blocks, one thread"));
}
