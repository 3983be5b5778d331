//! Two chips of this machine, ONNX Runtime on the processor and OpenVINO: what a model reaches on each alone, and what
//! callers of a pipeline get: `cargo bench --bench chips`.
//!
//! It needs the package `onnxruntime-openvino` in `target/onnxruntime-openvino`, whose library carries both, and the
//! folder `models` next to the repository. The callers share the two cores with the model, and also decode and resize
//! the image.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::nn::{BackendName, Chip, Device, Model, ModelSource};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::shared;
use serde_json::{Value, json};

const LIBRARY: &str = "onnxruntime-openvino/onnxruntime/capi/libonnxruntime.so.1.24.1";

fn config(models: &Path, library: &Path) -> String {
    let models = models.display();
    let mut toml = format!(
        "[backends.onnxruntime]\nlibrary = {library:?}\n[chips.ov]\nprovider = \"openvino\"\ndevice = \"CPU\"\n"
    );
    for (name, target) in [("a", "cpu"), ("b", "ov")] {
        toml += &format!(
            "[models.{name}]\nfile = \"{models}/squeezenet-1.0/model.onnx\"\nbackend = \"onnxruntime\"\n\
             target = \"{target}\"\n"
        );
    }
    toml + &format!(
        "[pipelines.p]\ndefault_chip = \"a\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 224, height = 224, resize = \"crop\", resize_shorter = 256, channels = \"bgr\", \
         input = \"data_0\" }}\n\
         [pipelines.p.chips.a]\nplugin = \"infer-native\"\nmodel = \"a\"\n\
         [pipelines.p.chips.b]\nplugin = \"infer-native\"\nmodel = \"b\"\n\
         [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ scores = \"ready\", labels = \"labels.txt\" }}\n\
         assets = {{ \"labels.txt\" = \"{models}/squeezenet-1.0/labels.txt\" }}\n"
    )
}

fn load(settings: &Value, bytes: &[u8], device: Device) -> Box<dyn Model> {
    let name: BackendName = "onnxruntime".parse().expect("known");
    let backend = name.open(settings, Path::new("")).expect("opened");
    let source = ModelSource {
        name: "m".into(),
        path: "m.onnx".into(),
        bytes: Arc::new(bytes.to_vec()),
        external: Vec::new(),
        device,
        options: Default::default(),
    };
    backend.load(&source).unwrap_or_else(|error| panic!("{error}"))
}

/// Rows per second of the model alone, from this many threads.
fn alone(model: &dyn Model, threads: usize, time: Duration) -> f64 {
    let input = || [Tensor::new(vec![1, 3, 224, 224], TensorType::Fp32, vec![0; 3 * 224 * 224 * 4])];
    model.warm(&input()).expect("a run");
    let started = Instant::now();
    let runs: u32 = std::thread::scope(|scope| {
        let run = || {
            let (input, mut runs) = (input(), 0);
            while started.elapsed() < time {
                model.run(&input).expect("a run");
                runs += 1;
            }
            runs
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    f64::from(runs) / started.elapsed().as_secs_f64()
}

/// How often [`sessions`] measures each.
const ROUNDS: usize = 11;

/// Four runs at once on the processor, in one session and in four.
fn sessions(library: &Path, bytes: &[u8], time: Duration) {
    let titles = [("1 run", 1), ("2 at once", 1), ("4 at once", 1)];
    let mut table = Table::new("sessions", &[("session", 10), ("threads", 8)], &titles);
    for threads in [1, 2] {
        let models = [true, false].map(|is_shared| {
            let settings =
                json!({ "library": library, "sessions": 4, "threads": threads, "shared_session": is_shared });
            load(&settings, bytes, Device::Cpu)
        });
        // Short turns of both, so that other work of the machine slows both.
        let mut rounds = [[const { Vec::new() }; 3], [const { Vec::new() }; 3]];
        for round in 0..ROUNDS {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                for (place, runs) in [1, 2, 4].into_iter().enumerate() {
                    rounds[which][place].push(alone(&*models[which], runs, time));
                }
            }
        }
        for (name, figures) in ["shared", "separate"].into_iter().zip(rounds) {
            let median = figures.map(|mut figures| {
                figures.sort_by(f64::total_cmp);
                figures[figures.len() / 2]
            });
            table.row(&[name, &threads.to_string()], &median);
        }
    }
    table.end("SqueezeNet 1.0 on the processor: runs per second of the model alone, medians");
}

fn main() {
    let library: PathBuf = std::path::absolute(bench::target().join(LIBRARY)).expect("a path");
    let (Some(models), true) = (shared("models"), library.is_file()) else {
        eprintln!("SKIPPED: {} or the models are missing", library.display());
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let time = Duration::from_secs(if bench::measures() { 10 } else { 1 });
        let bytes = std::fs::read(models.join("squeezenet-1.0/model.onnx")).expect("present");
        let image = std::fs::read_dir(models.join("squeezenet-1.0/examples")).expect("examples");
        let image =
            image.filter_map(|entry| std::fs::read_dir(entry.ok()?.path()).ok()).flatten().filter_map(Result::ok);
        let image = image.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "jpg"));
        let body = Arc::new(std::fs::read(image.expect("a JPEG")).expect("readable"));
        let app = bench::app(&config(&models, &library)).await;
        let pipeline = app.pipeline("p").expect("configured");
        let titles = [("alone, 1 thread", 1), ("alone, 2 threads", 1), ("1 caller", 1), ("4 callers", 1)];
        let mut table = Table::new("chips", &[("chip", 22)], &titles);
        let openvino = Device::Chip(Arc::new(Chip {
            name: "ov".into(),
            provider: "openvino".into(),
            library: None,
            device: Some("CPU".into()),
            options: Default::default(),
        }));
        for (chip, name, device) in [("a", "onnxruntime", Device::Cpu), ("b", "openvino", openvino)] {
            let model = load(&json!({ "library": library }), &bytes, device);
            let own = [1, 2].map(|threads| alone(&*model, threads, time));
            drop(model);
            let mut figures = own.to_vec();
            for callers in [1, 4] {
                figures.push(bench::served(&pipeline, chip, &body, callers, time).await.1);
            }
            table.row(&[name], &figures);
        }
        table.end("SqueezeNet 1.0: runs per second of the model alone, and requests per second of a pipeline with it");
        sessions(&library, &bytes, time / 8);
    });
}
