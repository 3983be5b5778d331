//! The limit of a pipeline for photos: preprocessing and the model alone, natively, from as many threads as the machine has
//! cores, without HTTP and without WebAssembly: `cargo bench --bench limit -- MODEL IMAGE LIBRARY SIDE [PROVIDER] [SECONDS]`.
//!
//! `bench.py photos` runs it in turns with the servers. It prints one line of JSON: the requests per second of all threads
//! together, and the medians of both parts in ms.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image_core::{Channels, Dtype, Elements, Layout, Limits, Mode, Pack, Settings, Target, prepare};
use plimsoll_runtime::nn::{BackendName, Chip, Device, Model, ModelSource};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [model, image, library, side, rest @ ..] = arguments.as_slice() else {
        eprintln!("SKIPPED: needs MODEL IMAGE LIBRARY SIDE");
        return;
    };
    let side = side.parse().expect("SIDE is a number of pixels");
    let device = match rest.first().map(String::as_str) {
        None | Some("cpu") => Device::Cpu,
        Some(provider) => Device::Chip(Arc::new(Chip {
            name: provider.into(),
            provider: provider.into(),
            library: None,
            device: Some("CPU".into()),
            options: Default::default(),
        })),
    };
    let seconds = rest.get(1).map_or(4.0, |seconds| seconds.parse().expect("SECONDS is a number"));
    let threads = std::thread::available_parallelism().expect("known").get();
    let model = load(Path::new(model), &PathBuf::from(library), device, threads);
    let body = std::fs::read(image).expect("a readable image");
    let settings = settings(side);
    request(&*model, &body, &settings, side);

    let time = Duration::from_secs_f64(seconds);
    let started = Instant::now();
    let times: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let mut times = Vec::new();
            while started.elapsed() < time {
                times.push(request(&*model, &body, &settings, side));
            }
            times
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let rps = times.len() as f64 / started.elapsed().as_secs_f64();
    let median = |part: fn(&(f64, f64)) -> f64| {
        let mut times: Vec<f64> = times.iter().map(part).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    println!("{}", json!({ "rps": rps, "prepare_ms": median(|times| times.0), "model_ms": median(|times| times.1) }));
}

/// The settings of `image-preprocess` in `bench.py`.
fn settings(side: u32) -> Settings {
    Settings {
        target: Target { width: side, height: side, mode: Mode::Stretch, shorter: None },
        pack: Pack {
            width: side,
            height: side,
            order: Channels::Rgb,
            layout: Layout::Nchw,
            invert: false,
            pad: 0,
            mean: [123.675, 116.28, 103.53],
            scale: [0.017_124_753, 0.017_507_004, 0.017_429_193],
            dtype: Dtype::F32,
        },
        limits: Limits { max_pixels: 25_000_000, max_bytes: 192 << 20 },
        draft: false,
    }
}

/// A model with one thread for each run, as in a pipeline with as many sessions as cores.
fn load(file: &Path, library: &Path, device: Device, sessions: usize) -> Box<dyn Model> {
    let name: BackendName = "onnxruntime".parse().expect("known");
    let settings = json!({ "library": library, "sessions": sessions, "threads": 1 });
    let backend = name.open(&settings, Path::new("")).unwrap_or_else(|error| panic!("{error}"));
    let source = ModelSource {
        name: "m".into(),
        path: file.into(),
        bytes: Arc::new(std::fs::read(file).expect("a readable model")),
        external: Vec::new(),
        device,
        options: Default::default(),
    };
    backend.load(&source).unwrap_or_else(|error| panic!("{error}"))
}

/// Prepares the image and runs the model. Returns the times of both in ms.
fn request(model: &dyn Model, body: &[u8], settings: &Settings, side: u32) -> (f64, f64) {
    let started = Instant::now();
    let (Elements::F32(values), _) = prepare(body, settings).expect("an image") else { panic!("not f32") };
    let mut bytes = vec![0; values.len() * 4];
    bytes.chunks_exact_mut(4).zip(&values).for_each(|(bytes, value)| bytes.copy_from_slice(&value.to_le_bytes()));
    let tensor = Tensor::new(vec![1, 3, side, side], TensorType::Fp32, bytes);
    let between = Instant::now();
    std::hint::black_box(model.run(&[tensor]).expect("a run"));
    let ended = Instant::now();
    ((between - started).as_secs_f64() * 1e3, (ended - between).as_secs_f64() * 1e3)
}
