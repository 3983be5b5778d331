//! Measures `image-preprocess` in wasm, compared with the same code natively: `cargo bench --bench preprocess`.
//!
//! A call in wasm is a complete stage run: it creates a store and a fresh instance, copies the body in and the tensor
//! out, and drops the instance. `preprocess.py images` creates the images. If images or Pillow are missing, their
//! figures are missing too. Two optional arguments limit the run: a part of the images' names, and the number of
//! seconds per figure.
//!
//! A second table has crops of `crop-transform` out of a decoded picture of 12 megapixels: the time of the step alone.
//!
//! With the arguments `before FILE`, where FILE is another build of the component, the benchmark runs the two components in
//! turns on the same images, and prints the times of both and their ratio. The two optional arguments follow.
//!
//! With the argument `kept`, it shows what stands between wasm and native code: the same component in one instance that is
//! kept, with and without checks of the deadline. The two optional arguments follow.
//!
//! With the argument `accuracy`, the benchmark instead writes the output for each file of the corpus, which
//! `preprocess.py accuracy` compares with Pillow's.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image_core::{Channels, Dtype, Elements, Layout, Limits, Mode, Pack, Settings, Target, prepare};
use plimsoll::serve::App;
use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::{guest, guests_config, shared};
use serde_json::{Value, json};

#[path = "preprocess/kept.rs"]
mod kept;

const SIDE: u32 = 224;
/// The sides of the crops, as in `preprocess.py`.
const CROPS: [u16; 3] = [100, 1000, 2400];
/// The mean of ImageNet per channel, for values from 0 to 255. `SCALE` is the reciprocal of its standard deviation.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const SCALE: [f32; 3] = [0.017_124_753, 0.017_507_004, 0.017_429_193];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "accuracy") {
        return accuracy();
    }
    if let Some(("before", [file, rest @ ..])) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return compare(Path::new(file), rest);
    }
    if let Some(("kept", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        let (runtime, folder) = (bench::runtime(), bench::target().join("preprocess"));
        let _ = python("images", &folder);
        let app = app(&runtime, false, None);
        return kept::compare(&runtime, &app, &images(&folder), rest, &settings(false, false));
    }
    let part = arguments.first().map(String::as_str).unwrap_or_default();
    let seconds = arguments.get(1).and_then(|argument| argument.parse().ok()).unwrap_or(3.0);
    let folder = bench::target().join("preprocess");
    let pillow = python("images", &folder).and_then(|_| python("time", &folder)).unwrap_or(Value::Null);

    // Plugins are compiled on blocking threads of the runtime. The runs stay on this thread.
    let runtime = bench::runtime();
    let figures = [
        ("bytes", 0),
        ("native ms", 3),
        ("wasm ms", 3),
        ("Pillow ms", 3),
        ("wasm/native", 2),
        ("of the least", 2),
        ("wasm/Pillow", 2),
        ("high water", 0),
    ];
    let mut table = Table::new("preprocess", &[("image", 32)], &figures);
    for draft in [false, true] {
        let app = app(&runtime, draft, None);
        for file in images(&folder).iter().filter(|file| file.to_string_lossy().contains(part)) {
            let name = file.file_name().expect("a file").to_string_lossy();
            if draft && !name.ends_with(".jpg") {
                continue;
            }
            let body = std::fs::read(file).expect("readable");
            let settings = settings(draft, false);
            let native = || drop(std::hint::black_box(prepare(&body, &settings)).expect("an image"));
            let mut high_water = 0;
            let mut wasm = || high_water = runtime.block_on(run(&app, &body));
            // Native and wasm alternate, so that other load on the machine affects both equally.
            let (mut native_times, mut wasm_times) = (Vec::new(), Vec::new());
            let started = Instant::now();
            while started.elapsed().as_secs_f64() < 2.0 * seconds || wasm_times.len() < 15 {
                native_times.push(clock(native));
                wasm_times.push(clock(&mut wasm));
            }
            let ((native, native_fastest), (wasm, wasm_fastest)) = (summary(native_times), summary(wasm_times));
            let name = if draft { format!("{name} draft") } else { name.into_owned() };
            let python = pillow[&name].as_f64().unwrap_or(f64::NAN);
            let least = wasm_fastest / native_fastest;
            let bytes = body.len() as f64;
            table.row(&[&name], &[bytes, native, wasm, python, wasm / native, least, wasm / python, high_water as f64]);
        }
    }
    table.end(
        "224 x 224, f32, NCHW; medians; of the least: ratio of the minimum times; high water: bytes of linear memory",
    );
    if part.is_empty() || "crop".contains(part) {
        crops(&runtime, &pillow, seconds);
    }
}

/// Prints the time that `crop-transform` needs for one crop.
fn crops(runtime: &tokio::runtime::Runtime, pillow: &Value, seconds: f64) {
    let (width, height) = (4000_usize, 3000_usize);
    let plugins =
        ["given-tensors", "noop-postprocess"].map(|name| format!("[plugins.{name}]\nfile = {:?}\n", guest(name)));
    let app = runtime.block_on(bench::app(&format!(
        "{}[server]\nmax_body = \"64MiB\"\n[pipelines.p]\nsteps = [\n{{ name = \"in\", kind = \"preprocess\", plugin = \"given-tensors\" \
         }},\n{{ name = \"crop\", kind = \"transform\", plugin = \"crop-transform\", items = true, config = {{ detector = \
         \"end-to-end\", width = {SIDE}, height = {SIDE}, mean = {MEAN:?}, scale = {SCALE:?} }} }},\n{{ name = \"out\", kind = \
         \"postprocess\", plugin = \"noop-postprocess\", gather = true }}]\n",
        plugins.concat()
    )));
    let mut table = Table::new("crop", &[("crop", 32)], &[("wasm ms", 3), ("Pillow ms", 3), ("high water", 0)]);
    for side in CROPS {
        let context = json!({ "width": width, "height": height, "input_width": width, "input_height": height,
                              "scale_x": 1.0, "scale_y": 1.0, "offset_x": 0.0, "offset_y": 0.0 });
        let tensors = json!([{ "name": "rows", "type": "fp32", "shape": [1, 1, 6] },
                             { "name": "picture", "type": "u8", "shape": [1, height, width, 3] }]);
        let head = json!({ "tensors": tensors, "context": context }).to_string();
        let mut body = u32::try_from(head.len()).expect("short").to_le_bytes().to_vec();
        body.extend(head.as_bytes());
        let (left, top, end) = (700.0_f32, 500.0_f32, f32::from(side));
        body.extend([left, top, left + end, top + end, 0.9, 0.0].iter().flat_map(|value| value.to_le_bytes()));
        body.extend((0..3 * width * height).map(|at| (at * 31 % 251) as u8));
        let (mut times, mut high_water) = (Vec::new(), 0);
        let started = Instant::now();
        while started.elapsed().as_secs_f64() < seconds || times.len() < 15 {
            let pipeline = app.pipeline("p").expect("configured");
            let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
            let mut log = RunLog::new(Duration::from_secs(60));
            let chip = pipeline.select(&pipeline.default_chip).expect("configured");
            let reply = runtime.block_on(pipeline.run(chip, &mut log, &request, &body));
            reply.map_err(|failed| failed.error).expect("a reply");
            let crop = log.reports().iter().find(|report| report.stage.to_string() == "crop").expect("a step");
            times.push(crop.duration.as_secs_f64() * 1000.0);
            high_water = crop.usage.high_water;
        }
        let python = pillow[&format!("crop {side}")].as_f64().unwrap_or(f64::NAN);
        table.row(&[&format!("{side} x {side} of {width} x {height}")], &[summary(times).0, python, high_water as f64]);
    }
    table.end("to 224 x 224, f32, NCHW; medians of the step alone; the picture is decoded already");
}

/// Prints the times of two builds of the component, which run in turns, so that other load affects both equally.
fn compare(before: &Path, arguments: &[String]) {
    let part = arguments.first().map(String::as_str).unwrap_or_default();
    let seconds = arguments.get(1).and_then(|argument| argument.parse().ok()).unwrap_or(3.0);
    let folder = bench::target().join("preprocess");
    let _ = python("images", &folder);
    let runtime = bench::runtime();
    let before = before.canonicalize().expect("the component to compare with");
    let figures = [("before ms", 3), ("now ms", 3), ("now/before", 3), ("of the least", 3)];
    let mut table = Table::new("preprocess_before", &[("image", 32)], &figures);
    for draft in [false, true] {
        let apps = [app(&runtime, draft, Some(&before)), app(&runtime, draft, None)];
        for file in images(&folder).iter().filter(|file| file.to_string_lossy().contains(part)) {
            let name = file.file_name().expect("a file").to_string_lossy();
            if draft && !name.ends_with(".jpg") {
                continue;
            }
            let body = std::fs::read(file).expect("readable");
            let mut times = [Vec::new(), Vec::new()];
            let started = Instant::now();
            while started.elapsed().as_secs_f64() < 2.0 * seconds || times[0].len() < 15 {
                for (app, times) in apps.iter().zip(&mut times) {
                    times.push(clock(|| _ = runtime.block_on(run(app, &body))));
                }
            }
            let [(before, before_least), (now, now_least)] = times.map(summary);
            let name = if draft { format!("{name} draft") } else { name.into_owned() };
            table.row(&[&name], &[before, now, now / before, now_least / before_least]);
        }
    }
    table.end("224 x 224, f32, NCHW; medians; of the least: ratio of the minimum times");
}

/// The JSON that `preprocess.py` prints for a command, or null if it prints none. `None` if it fails, for example
/// because Pillow is missing.
fn python(command: &str, folder: &Path) -> Option<Value> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = package.join("../.venv/bin/python");
    let python = if own.is_file() { own } else { "python3".into() };
    let script = package.join("benches/preprocess.py");
    let output = std::process::Command::new(python).arg(script).arg(command).arg(folder).output().ok()?;
    if !output.status.success() {
        eprintln!(
            "`preprocess.py {command}` failed, so Pillow's figures are missing; its docstring lists the requirements"
        );
        return None;
    }
    Some(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

fn images(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| matches!(file.extension().and_then(|it| it.to_str()), Some("jpg" | "png" | "webp")));
    files.sort();
    files
}

fn settings(draft: bool, bytes: bool) -> Settings {
    Settings {
        target: Target { width: SIDE, height: SIDE, mode: Mode::Stretch, shorter: None },
        pack: Pack {
            width: SIDE,
            height: SIDE,
            order: Channels::Rgb,
            layout: if bytes { Layout::Nhwc } else { Layout::Nchw },
            invert: false,
            pad: 0,
            mean: MEAN,
            scale: SCALE,
            dtype: if bytes { Dtype::U8 } else { Dtype::F32 },
        },
        limits: Limits { max_pixels: 25_000_000, max_bytes: 192 << 20 },
        draft,
    }
}

/// Serves `image-preprocess`, or another build of it from a file.
fn app(runtime: &tokio::runtime::Runtime, draft: bool, other: Option<&Path>) -> App {
    let config =
        format!("config = {{ width = {SIDE}, height = {SIDE}, mean = {MEAN:?}, scale = {SCALE:?}, draft = {draft} }}");
    let mut toml = guests_config("tester", &config).replace("plugin = \"tester\"", "plugin = \"image-preprocess\"");
    if let Some(file) = other {
        toml = toml.replace("plugin = \"image-preprocess\"", "plugin = \"before\"");
        toml.push_str(&format!("[plugins.before]\nfile = {file:?}\n"));
    }
    runtime.block_on(bench::app(&toml))
}

/// Runs the stage once and returns its high-water mark in bytes.
async fn run(app: &App, body: &[u8]) -> u64 {
    let pipeline = app.pipeline("p").expect("configured");
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let mut log = RunLog::new(Duration::from_secs(60));
    pipeline.preprocess.run(&mut log, &request, body).await.expect("an image");
    log.reports()[0].usage.high_water
}

fn clock(call: impl FnOnce()) -> f64 {
    let started = Instant::now();
    call();
    started.elapsed().as_secs_f64() * 1000.0
}

/// The median and the minimum. If other processes use the machine too, only the minimum depends on this code alone.
fn summary(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// Writes the preprocessed bytes of each file in the valid corpus, and the list of the files.
fn accuracy() {
    let Some(corpus) = shared("corpus") else { return };
    let folder = bench::target().join("preprocess/accuracy");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut list = String::new();
    for entry in std::fs::read_dir(corpus.join("valid")).expect("a folder") {
        let file = entry.expect("readable").path();
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        match prepare(&std::fs::read(&file).expect("readable"), &settings(false, true)) {
            Ok((Elements::U8(bytes), _)) => {
                std::fs::write(folder.join(format!("{name}.rgb")), bytes).expect("written");
                list.push_str(&format!("{name}\t{}\n", file.display()));
            }
            other => println!("{name}: {:?}", other.err()),
        }
    }
    std::fs::write(folder.join("files.txt"), list).expect("written");
    println!("compare: .venv/bin/python tests/benches/preprocess.py accuracy {}", folder.display());
}
